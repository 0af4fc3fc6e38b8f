"""The entry point: `uvicorn main:app`.

Settings are read here, once. A wrong one ends the start with a sentence instead of a traceback.
"""

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def _build() -> "FastAPI":
    # Importing makes very many objects and hardly any garbage: looking for it meanwhile takes an
    # eighth of the start, and looking through them again later delays requests.
    gc.disable()
    from app.application import create_app
    from app.logs import configure_logging
    from app.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        raise SystemExit(f"backend: {error}") from None
    configure_logging(settings.log_level)
    built = create_app(settings)
    gc.freeze()
    gc.enable()
    return built


app = _build()
