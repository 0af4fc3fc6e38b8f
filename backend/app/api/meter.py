"""Request metrics of this process."""

import itertools
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry

# Most requests take milliseconds; uploads and first clips take seconds or minutes.
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
LABELS = ("method", "route", "status")


@dataclass
class _Requests:
    """The requests with the same labels."""

    since: float
    """Time of the first one."""
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    """How many fell into each bucket, and how many took longer than all."""
    seconds: float = 0.0


class RequestMeter:
    """Count the requests of one application.

    The client library is loaded when the metrics are read, not by the first request.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.in_progress = 0
        """Requests currently being handled."""
        self._ended: dict[tuple[str, str, str], _Requests] = {}

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Record one completed request; call it from one thread only."""
        labels = (method, route, str(status))
        requests = self._ended.get(labels)
        if requests is None:
            requests = self._ended[labels] = _Requests(since=time.time())
        requests.counts[bisect_left(BUCKETS, seconds)] += 1
        requests.seconds += seconds

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
        registry.register(self)
        return registry

    def collect(self) -> "Iterator[Metric]":
        """Yield the durations of requests, if any, as the library's own histogram would."""
        from prometheus_client.metrics_core import HistogramMetricFamily

        if not self._ended:
            return
        durations = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Time from the first byte of the request to the last byte of the response.",
            labels=LABELS,
        )
        bounds = [*map(str, BUCKETS), "+Inf"]
        for labels, requests in self._ended.copy().items():  # other threads observe meanwhile
            totals = itertools.accumulate(requests.counts)
            durations.add_metric(labels, [*zip(bounds, totals, strict=True)], requests.seconds)
            named = dict(zip(LABELS, labels, strict=True))
            durations.add_sample(f"{durations.name}_created", named, requests.since)
        yield durations
