"""Background work: running analyses, dispatching them to Celery, cleaning up.

`celery -A app.worker` finds the Celery application here. It is built on first access, because the
API imports other modules of this package and must start without loading Celery.
"""

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def __getattr__(name: str) -> "Celery":
    """Build the Celery application when `celery` is first read (PEP 562)."""
    if name != "celery":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # As in `main`; and what is frozen before the pool forks stays shared with its processes.
    gc.disable()
    from app.worker.tasks import celery_application

    application = celery_application()
    gc.freeze()
    gc.enable()
    return application
