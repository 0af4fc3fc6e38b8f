"""Many concurrent clients, each with its own connection, and the latencies of their requests."""

import asyncio
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

# Generous, because 200 responses take long on a loaded machine; only no response is a failure.
TIMEOUT_S = 300.0


@dataclass
class Swarm:
    """Runs clients and records their responses."""

    url: str
    statuses: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Response statuses by kind of request."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def ask(
        self, client: httpx2.AsyncClient, kind: str, path: str, **request: object
    ) -> httpx2.Response:
        """Send a request (POST if it has files) and record the response under `kind`."""
        method = "POST" if "files" in request else "GET"
        began = time.perf_counter()
        reply = await client.request(method, self.url + path, **request)  # type: ignore[arg-type]
        self.seconds[kind].append(time.perf_counter() - began)
        self.statuses[kind].add(reply.status_code)
        return reply

    def run(
        self, clients: int, scenario: Callable[["Swarm", httpx2.AsyncClient, int], Awaitable[None]]
    ) -> None:
        """Run `scenario` for each of the clients concurrently."""
        context = ssl.create_default_context()  # shared, because creating it is slow

        async def one(number: int) -> None:
            async with httpx2.AsyncClient(
                timeout=TIMEOUT_S, trust_env=False, verify=context
            ) as client:
                await scenario(self, client, number)

        async def run_all() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(clients):
                    group.create_task(one(number))

        asyncio.run(run_all())

    def report(self) -> str:
        """Return a table of latencies in milliseconds by kind: p50, p99 and maximum."""
        lines = [f"{'request':<24}{'count':>7}{'p50':>8}{'p99':>8}{'max':>8}"]
        for kind, values in self.seconds.items():
            ordered = sorted(values)
            marks = [ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99, 1)]
            shown = "".join(f"{1000 * mark:>8.0f}" for mark in marks)
            lines.append(f"{kind:<24}{len(ordered):>7}{shown}")
        return "\n".join(lines)


def memory(pid: int) -> str:
    """Return the current and peak resident memory of a process in MiB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in text.splitlines() if line.startswith("Vm"))
    current, peak = (int(values[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))
    return f"{current} MiB, peak {peak} MiB"


def print_lines(*lines: str) -> None:
    """Print lines, visible with `pytest -s` and in the test log."""
    sys.stdout.write("\n".join([*lines, ""]))
