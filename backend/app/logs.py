"""Structured logs: one JSON object per line on standard output.

Events are dotted names with fields (`event("video.stored", video_id=…)`), never prose with
interpolated values. Records of other libraries keep their text as `message`.
"""

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
caller: ContextVar[dict[str, str] | None] = ContextVar("caller", default=None)
"""Who sent the request that is being handled: `client` (an IP address) and `key` (its prefix)."""

_SERVER_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "celery", "alembic")


class JsonFormatter(logging.Formatter):
    """Format records as single-line JSON with stable field names."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON line, including a traceback as `exception`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        line["message" if fields is None else "event"] = record.getMessage()
        current = request_id.get()
        if current is not None:
            line["request_id"] = current
        line.update(caller.get() or {})
        line.update(fields or {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """Route every logger of this process through JsonFormatter, including the servers' own."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _SERVER_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    # It logs seven lines of noise per migration.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    # Log uncaught exceptions in the same format.
    sys.excepthook = _log_uncaught
    # app.api.middleware logs each request with its id and duration; uvicorn's line is redundant.
    logging.getLogger("uvicorn.access").disabled = True


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger("app").critical("process.crashed", exc_info=(kind, error, traceback))


def event(
    name: str,
    /,
    *,
    level: int = logging.INFO,
    exc_info: bool | BaseException | None = None,
    **fields: object,
) -> None:
    """Log an event with its fields; `exc_info` is an exception, or True for the current one."""
    logging.getLogger("app").log(level, name, extra={"fields": fields}, exc_info=exc_info)
