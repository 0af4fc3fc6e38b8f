"""`GET /health` tells whether this instance can do its work."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from app import __version__
from app.api.context import InContext
from app.services.health import check_all
from app.services.queue import WorkerState

router = APIRouter(tags=["health"])


class CheckOut(BaseModel):
    """One check."""

    status: Literal["ok", "failed"]
    detail: str
    current: str | None = None
    head: str | None = None
    free_bytes: int | None = None


class HealthOut(BaseModel):
    """The state of this instance."""

    status: Literal["healthy", "unhealthy"]
    version: str
    worker: WorkerState
    checks: dict[str, CheckOut]


@router.get(
    "/health",
    response_model_exclude_unset=True,
    responses={503: {"model": HealthOut, "description": "At least one check failed."}},
)
def health(context: InContext, response: Response) -> HealthOut:
    """Check database, migrations, worker and disk: 200 when all are well, else 503."""
    checks, worker = check_all(
        database=context.database, storage=context.storage, queue=context.queue
    )
    healthy = all(check.ok for check in checks.values())
    response.status_code = 200 if healthy else 503
    response.headers["cache-control"] = "no-store"
    return HealthOut(
        status="healthy" if healthy else "unhealthy",
        version=__version__,
        worker=worker,
        checks={
            name: CheckOut.model_validate(
                {"status": "ok" if check.ok else "failed", "detail": check.detail, **check.facts}
            )
            for name, check in checks.items()
        },
    )
