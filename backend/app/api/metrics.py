"""`GET /metrics` in the text format of Prometheus.

Figures about the service (videos, analyses by state) are read from the database at each scrape, so
any process tells the same. Figures about requests are those of the process that answers: with
several (`uvicorn --workers`, replicas) let Prometheus scrape each, or sum at its end.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.responses import Response

from app.api.context import Context, InContext
from app.api.problems import documented
from app.models.base import utc_now
from app.services import statistics

if TYPE_CHECKING:
    from prometheus_client.metrics import Histogram
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry

# Requests are answered within milliseconds, uploads and first clips within seconds or minutes.
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class RequestMeter:
    """Counts the requests of one application. The client library is loaded by the first of them."""

    def __init__(self) -> None:
        """Start at zero."""
        self.under_way = 0
        """Requests being answered."""

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request that has been answered."""
        self._seconds.labels(method, route, str(status)).observe(seconds)

    @cached_property
    def registry(self) -> "CollectorRegistry":
        """Return what holds the metrics of this process."""
        from prometheus_client.metrics import Gauge
        from prometheus_client.process_collector import ProcessCollector
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        under_way = Gauge(
            "http_requests_in_progress", "Requests being answered.", registry=registry
        )
        under_way.set_function(lambda: float(self.under_way))
        return registry

    @cached_property
    def _seconds(self) -> "Histogram":
        from prometheus_client.metrics import Histogram

        return Histogram(
            "http_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )


class _Service:
    """Reads the service's figures when asked."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def collect(self) -> "Iterator[Metric]":
        """Yield one gauge per figure. Raises SQLAlchemyError when the database is away."""
        from prometheus_client.metrics_core import GaugeMetricFamily

        with self._context.database.reading() as session:
            found = statistics.read(session, now=utc_now())
        yield GaugeMetricFamily("videos", "Videos stored.", value=found.videos)
        yield GaugeMetricFamily("videos_bytes", "Bytes of stored videos.", value=found.video_bytes)
        states = GaugeMetricFamily("analyses", "Analyses by state.", labels=["status"])
        for status, count in found.analyses.items():
            states.add_metric([status.value], count)
        yield states
        yield GaugeMetricFamily(
            "analyses_oldest_queued_seconds",
            "How long the analysis that has waited longest has waited.",
            value=found.oldest_queued,
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
def metrics(context: InContext) -> Response:
    """Tell Prometheus how the service and this process are doing."""
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import CollectorRegistry

    service = CollectorRegistry(auto_describe=False)
    service.register(_Service(context))
    body = generate_latest(service) + generate_latest(context.meter.registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST, headers={"cache-control": "no-store"})
