"""What one API key may store, and how much it may have analysed at a time.

Clients without a key are told apart only by address, which many people may share and one may
change. They have no quotas; see the limits on connections and on unfinished uploads.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import QuotaError, TooManyRequestsError
from app.models import Analysis, AnalysisStatus, ApiKey, Video

UNFINISHED = (AnalysisStatus.QUEUED, AnalysisStatus.RUNNING)


@dataclass(frozen=True)
class Quotas:
    """Those of keys that have none of their own; None for no limit."""

    bytes: int | None = None
    jobs: int | None = None


UNLIMITED = Quotas()


def check_bytes(session: Session, *, client: str, size: int, quotas: Quotas) -> None:
    """Raise QuotaError if the key may not store `size` bytes more.

    In a transaction that writes, other uploads of the key wait until it ends.
    """
    key = _find(session, client)
    limit = quotas.bytes if key is None or key.max_bytes is None else key.max_bytes
    if key is None or limit is None:
        return
    stored = select(func.coalesce(func.sum(Video.size), 0)).where(Video.client == client)
    used = int(session.scalar(stored) or 0)
    if used + size > limit:
        raise QuotaError(f"The key has stored {used} of {limit} bytes; this needs {size} more.")


def check_jobs(session: Session, *, client: str | None, quotas: Quotas) -> None:
    """Raise TooManyRequestsError if the key has too many unfinished analyses; see `check_bytes`."""
    key = _find(session, client)
    limit = quotas.jobs if key is None or key.max_jobs is None else key.max_jobs
    if key is None or limit is None:
        return
    unfinished = (
        select(func.count())
        .select_from(Analysis)
        .where(Analysis.status.in_(UNFINISHED), Analysis.client == client)
    )
    if (session.scalar(unfinished) or 0) >= limit:
        raise TooManyRequestsError(
            f"The key has {limit} unfinished analyses; wait until one is finished, or cancel one."
        )


def _find(session: Session, client: str | None) -> ApiKey | None:
    if not client or client.startswith("@"):
        return None
    return session.scalar(select(ApiKey).where(ApiKey.prefix == client).with_for_update())
