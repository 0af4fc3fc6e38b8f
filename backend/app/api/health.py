"""`GET /health` reports whether this instance works; `/live` and `/ready` are for probes."""

from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from app import __version__
from app.api.deps import ContextDep
from app.services.health import Check, decoder_isolation
from app.services.queue import WorkerState

router = APIRouter(tags=["health"])

_CHECKS: dict[str, Any] = {
    "database": {"status": "ok", "detail": "postgresql"},
    "migrations": {
        "status": "ok",
        "detail": "up to date",
        "current": "20261125_0100",
        "head": "20261125_0100",
    },
    "disk": {"status": "ok", "detail": "writable", "free_bytes": 50_000_000_000},
    "broker": {"status": "ok", "detail": "reachable"},
}


class CheckOut(BaseModel):
    """The result of one check."""

    status: Literal["ok", "failed"]
    detail: str
    current: str | None = None
    head: str | None = None
    free_bytes: int | None = None

    @classmethod
    def from_check(cls, check: Check) -> "CheckOut":
        """Convert a check."""
        status = "ok" if check.ok else "failed"
        return cls.model_validate({"status": status, "detail": check.detail, **check.facts})


class LiveOut(BaseModel):
    """The process is running."""

    status: Literal["alive"] = "alive"


class ReadyOut(BaseModel):
    """Whether this instance can serve requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ready", "checks": {}}]})

    status: Literal["ready", "unready"]
    checks: dict[str, CheckOut]


class HealthOut(BaseModel):
    """The state of this instance."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "healthy",
                    "version": __version__,
                    "worker": "celery",
                    "decoder_isolation": ["landlock-abi-6", "seccomp"],
                    "checks": _CHECKS,
                }
            ]
        }
    )

    status: Literal["healthy", "unhealthy"]
    version: str
    worker: WorkerState
    decoder_isolation: list[str] = Field(
        description="Restrictions that the kernel enforces on the programs that read videos."
    )
    checks: dict[str, CheckOut]


@router.get(
    "/health",
    response_model_exclude_unset=True,
    responses={503: {"model": HealthOut, "description": "At least one check failed."}},
)
async def health(context: ContextDep, response: Response) -> HealthOut:
    """Check database, migrations, disk and broker: 200 if all are healthy, otherwise 503.

    Responds within a second, whatever the checks wait for.
    """
    checks = await context.monitor.check("database", "migrations", "disk", "broker")
    # A broker that does not answer is unreachable.
    worker = checks["broker"].worker or WorkerState.UNREACHABLE
    healthy = _set_status(checks, response)
    return HealthOut(
        status="healthy" if healthy else "unhealthy",
        version=__version__,
        worker=worker,
        decoder_isolation=decoder_isolation(),
        checks={name: CheckOut.from_check(check) for name, check in checks.items()},
    )


@router.get("/health/live")
async def live(response: Response) -> LiveOut:
    """Liveness probe: respond without checking anything."""
    response.headers["cache-control"] = "no-store"
    return LiveOut(status="alive")


@router.get(
    "/health/ready",
    response_model_exclude_unset=True,
    responses={503: {"model": ReadyOut, "description": "At least one check failed."}},
)
async def ready(context: ContextDep, response: Response) -> ReadyOut:
    """Readiness probe: check database, migrations and disk."""
    checks = await context.monitor.check("database", "migrations", "disk")
    return ReadyOut(
        status="ready" if _set_status(checks, response) else "unready",
        checks={name: CheckOut.from_check(check) for name, check in checks.items()},
    )


def _set_status(checks: dict[str, Check], response: Response) -> bool:
    """Set the response's status and return whether all checks passed."""
    passed = all(check.ok for check in checks.values())
    response.status_code = 200 if passed else 503
    response.headers["cache-control"] = "no-store"
    return passed
