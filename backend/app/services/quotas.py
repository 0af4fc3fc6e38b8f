"""What one API key, or a person who has signed in, may store and have analysed at a time.

Other clients are told apart only by address, which many people may share and one may
change. They have no quotas; see the limits on connections and on unfinished uploads.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import QuotaError, TooManyRequestsError
from app.models import Analysis, AnalysisStatus, ApiKey, Video
from app.services.sign_in import CLIENT_MARK

UNFINISHED = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)


@dataclass(frozen=True)
class Quotas:
    """Those of keys that have none of their own; None for no limit."""

    bytes: int | None = None
    jobs: int | None = None


UNLIMITED = Quotas()


def check_bytes(session: Session, *, client: str, size: int, quotas: Quotas) -> None:
    """Raise QuotaError if the client may not store `size` bytes more.

    In a transaction that writes, other uploads of the client wait until it ends.
    """
    limit = _limits(session, client, quotas).bytes
    if limit is None:
        return
    stored = select(func.coalesce(func.sum(Video.size), 0)).where(Video.client == client)
    used = int(session.scalar(stored) or 0)
    if used + size > limit:
        raise QuotaError(
            f"{_name(client)} has stored {used} of {limit} bytes; this needs {size} more."
        )


def check_jobs(session: Session, *, client: str | None, quotas: Quotas) -> None:
    """Raise TooManyRequestsError for too many unfinished analyses; see `check_bytes`."""
    limit = _limits(session, client, quotas).jobs
    if limit is None:
        return
    unfinished = (
        select(func.count())
        .select_from(Analysis)
        .where(Analysis.status.in_(UNFINISHED), Analysis.client == client)
    )
    if (session.scalar(unfinished) or 0) >= limit:
        raise TooManyRequestsError(
            f"{_name(client)} has {limit} unfinished analyses; wait until one is finished, or "
            "cancel one."
        )


def _limits(session: Session, client: str | None, quotas: Quotas) -> Quotas:
    if not client or client.startswith("@"):
        return UNLIMITED
    if client.startswith(CLIENT_MARK):
        # No row stands for the person. SQLite has one writer at a time anyway.
        if session.get_bind().dialect.name == "postgresql":
            session.execute(select(func.pg_advisory_xact_lock(func.hashtext(client))))
        return quotas
    key = session.scalar(select(ApiKey).where(ApiKey.prefix == client).with_for_update())
    if key is None:
        return UNLIMITED
    return Quotas(
        bytes=quotas.bytes if key.max_bytes is None else key.max_bytes,
        jobs=quotas.jobs if key.max_jobs is None else key.max_jobs,
    )


def _name(client: str | None) -> str:
    return "The account" if (client or "").startswith(CLIENT_MARK) else "The key"
