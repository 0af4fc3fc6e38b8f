"""`GET /metrics` in the Prometheus text format.

Service metrics (videos, analyses by status) are read from the database at each scrape, so every
process reports the same values. Request metrics are those of the process that answers; with several
processes (`uvicorn --workers`, replicas) let Prometheus scrape each one and sum.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import Response

from app.api.deps import Context, ContextDep
from app.api.problems import documented
from app.models import RetentionState
from app.models.base import utc_now
from app.services import retention_state, statistics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class _ServiceCollector:
    """Read the service's metrics at each scrape."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> "Iterator[Metric]":
        """Yield one gauge per metric. Raise SQLAlchemyError if the database is down."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        with self._context.database.reading() as session:
            current = statistics.read(session, now=utc_now())
            retains_all = not self._context.retention.policy.enabled
            retained = None if retains_all else retention_state.read(session)
        yield GaugeMetricFamily("videos", "Stored videos.", value=current.videos)
        yield GaugeMetricFamily(
            "videos_bytes", "Total size of stored videos in bytes.", value=current.video_bytes
        )
        by_status = GaugeMetricFamily("analyses", "Analyses by status.", labels=["status"])
        for status, count in current.analyses.items():
            by_status.add_metric([status.value], count)
        yield by_status
        yield GaugeMetricFamily(
            "analyses_oldest_queued_seconds",
            "Age of the oldest queued analysis.",
            value=current.oldest_queued,
        )
        if retained is not None:
            yield from _retention(retained)
        if self._context.settings.captions:
            yield from self._captions()

    def _captions(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import GaugeMetricFamily

        from app.services import captions

        with self._context.database.reading() as session:
            counts, requests = captions.statistics(session, now=utc_now())
        by_status = GaugeMetricFamily("captions", "Events by caption.", labels=["status"])
        for status, count in counts.items():
            by_status.add_metric([status], count)
        yield by_status
        yield GaugeMetricFamily(
            "captions_requests_today",
            "Requests to the Gemini API on this day (UTC), of all processes.",
            value=requests,
        )


def _retention(state: RetentionState) -> "Iterator[Metric]":
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

    removed = CounterMetricFamily(
        "retention_removed_videos", "Videos that retention has removed.", labels=["reason"]
    )
    removed.add_metric(["age"], state.removed_by_age)
    removed.add_metric(["size"], state.removed_by_size)
    yield removed
    yield CounterMetricFamily(
        "retention_removed_bytes", "Total size of these videos.", value=state.removed_bytes
    )
    yield GaugeMetricFamily(
        "retention_checked_timestamp_seconds",
        "When retention last looked for old videos.",
        value=state.checked_at.timestamp(),
    )
    yield GaugeMetricFamily(
        "retention_clock_doubted",
        "1 while nothing is removed by age because the clock has jumped.",
        value=state.doubted_at is not None,
    )


router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "All metrics.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **documented(503),
    },
)
def metrics(context: ContextDep) -> Response:
    """Return metrics of the service and of this process for Prometheus."""
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import CollectorRegistry

    service = CollectorRegistry(auto_describe=False)
    service.register(_ServiceCollector(context))
    body = generate_latest(service) + generate_latest(context.meter.registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST, headers={"cache-control": "no-store"})
