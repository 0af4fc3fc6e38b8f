"""The entry point: `uvicorn main:app`.

Settings are read here, once. An invalid setting, or a DATA_DIR that is not writable, exits with a
message instead of a traceback.
"""

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI


def _build() -> "FastAPI":
    # Imports create many objects and hardly any garbage. Collecting meanwhile takes an eighth of
    # the start-up time, and scanning these objects again later delays requests.
    gc.disable()
    from app.sandbox.system import set_memory_hidden

    set_memory_hidden(True)  # before secrets are read, and before any decoder runs
    from app.logs import configure_logging
    from app.services.private import keep_new_files_private
    from app.services.storage import Storage, StorageUnusableError
    from app.settings import SettingsError, load_settings

    keep_new_files_private()
    try:
        settings = load_settings()
        Storage(settings.data_dir).prepare()
    except (SettingsError, StorageUnusableError) as error:
        raise SystemExit(f"backend: {error}") from None
    configure_logging(settings.log_level)
    from app.api.application import create_app  # half of a start, which no mistake above waits for

    application = create_app(settings)
    gc.freeze()
    gc.enable()
    return application


app = _build()
