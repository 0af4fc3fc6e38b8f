"""Background work: running analyses, dispatching them to Celery, cleaning up.

`celery -A app.worker` finds the Celery application here. It is built on first access, because the
API imports other modules of this package and must start without loading Celery.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def __getattr__(name: str) -> "Celery":
    """Build the Celery application when `celery` is first read (PEP 562)."""
    if name != "celery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from app.worker.tasks import celery_application

    return celery_application()
