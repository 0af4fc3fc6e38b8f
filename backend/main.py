"""The entry point: `uvicorn main:app`.

Settings are read here, once. A wrong one ends the start with a sentence instead of a traceback.
"""

from app.application import create_app
from app.logs import configure_logging
from app.settings import SettingsError, load_settings

try:
    _settings = load_settings()
except SettingsError as error:
    raise SystemExit(f"backend: {error}") from None

configure_logging(_settings.log_level)
app = create_app(_settings)
