"""Request metrics of this process."""

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics import Histogram
    from prometheus_client.registry import CollectorRegistry

# Most requests take milliseconds; uploads and first clips take seconds or minutes.
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class RequestMeter:
    """Count the requests of one application. The first request loads the client library."""

    def __init__(self) -> None:
        """Start at zero."""
        self.in_progress = 0
        """Requests currently being handled."""

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Record one completed request."""
        self._seconds.labels(method, route, str(status)).observe(seconds)

    @cached_property
    def registry(self) -> "CollectorRegistry":
        """Return the registry of this process's metrics."""
        from prometheus_client.metrics import Gauge
        from prometheus_client.process_collector import ProcessCollector
        from prometheus_client.registry import CollectorRegistry

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        in_progress = Gauge(
            "http_requests_in_progress", "Requests currently being handled.", registry=registry
        )
        in_progress.set_function(lambda: float(self.in_progress))
        return registry

    @cached_property
    def _seconds(self) -> "Histogram":
        from prometheus_client.metrics import Histogram

        return Histogram(
            "http_request_duration_seconds",
            "Time from the first byte of the request to the last byte of the response.",
            ("method", "route", "status"),
            buckets=BUCKETS,
            registry=self.registry,
        )
