"""Run an image's own healthcheck in a running container, the way Docker's engine does.

The first probe comes one interval after the start. In the start period the (shorter) start
interval applies and failures do not count; after it, `retries` failures in a row make the
container unhealthy, and one success makes it healthy. A probe that outlives its timeout is killed
and counts as a failure. Source: Docker's reference of the HEALTHCHECK instruction.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from tools.container.config import Healthcheck
from tools.container.run import Completed, Container, SpawnError

TAIL = 400  # Characters of a probe's output that are worth repeating in a message.


@dataclass(frozen=True)
class Probe:
    """One execution of the healthcheck; `seconds` since the start of the watch."""

    seconds: float
    healthy: bool
    detail: str


@dataclass(frozen=True)
class Health:
    """What became of it: "healthy", "unhealthy", "starting" (time was up) or "exited"."""

    status: str
    probes: tuple[Probe, ...]
    seconds: float


def watch(
    container: Container,
    check: Healthcheck,
    *,
    main: int,
    env: Mapping[str, str],
    workdir: str,
    within: float,
) -> Health:
    """Probe until the container is healthy or unhealthy, ends, or `within` seconds are over.

    `main` is the number of the container's main process.
    """
    start = time.monotonic()
    probes: list[Probe] = []
    failures = 0

    def report(status: str) -> Health:
        return Health(status, tuple(probes), time.monotonic() - start)

    while True:
        elapsed = time.monotonic() - start
        starting = elapsed < check.start_period
        pause = check.start_interval if starting else check.interval
        if elapsed + pause > within:
            ended = container.wait(main, max(0.0, within - elapsed))
            return report("starting" if ended is None else "exited")
        if container.wait(main, pause) is not None:
            return report("exited")
        probe = _probe(container, check, start, env=env, workdir=workdir)
        probes.append(probe)
        if probe.healthy:
            return report("healthy")
        if time.monotonic() - start >= check.start_period:
            failures += 1
        if failures >= check.retries:
            return report("unhealthy")


def _probe(
    container: Container, check: Healthcheck, start: float, *, env: Mapping[str, str], workdir: str
) -> Probe:
    try:
        result = container.run(check.argv, env=env, workdir=workdir, timeout=check.timeout)
    except SpawnError as error:
        return Probe(time.monotonic() - start, healthy=False, detail=str(error))
    return Probe(time.monotonic() - start, result.exit_code == 0, _detail(result, check))


def _detail(result: Completed, check: Healthcheck) -> str:
    if result.timed_out:
        return f"no answer within its timeout of {check.timeout:g} s"
    output = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
    return f"exit code {result.exit_code}" + (f": {output[-TAIL:]}" if output else "")
