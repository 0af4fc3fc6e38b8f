"""Many clients at once, each a connection of its own, and how long their requests took."""

import asyncio
import ssl
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

# On a loaded machine two hundred answers take their time; a failure is no answer at all.
TIMEOUT_S = 300.0


@dataclass
class Swarm:
    """The answers of all clients."""

    url: str
    statuses: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By kind of request."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def ask(
        self, client: httpx2.AsyncClient, kind: str, path: str, **request: object
    ) -> httpx2.Response:
        """Send a request (POST if it has files) and note the answer under `kind`."""
        method = "POST" if "files" in request else "GET"
        began = time.perf_counter()
        reply = await client.request(method, self.url + path, **request)  # type: ignore[arg-type]
        self.seconds[kind].append(time.perf_counter() - began)
        self.statuses[kind].add(reply.status_code)
        return reply

    def run(
        self, clients: int, life: Callable[["Swarm", httpx2.AsyncClient, int], Awaitable[None]]
    ) -> None:
        """Let each of so many clients live its life, all at the same time."""
        context = ssl.create_default_context()  # one for all, since making it takes a while

        async def one(number: int) -> None:
            async with httpx2.AsyncClient(
                timeout=TIMEOUT_S, trust_env=False, verify=context
            ) as client:
                await life(self, client, number)

        async def everybody() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(clients):
                    group.create_task(one(number))

        asyncio.run(everybody())

    def report(self) -> str:
        """Return a table of milliseconds: median, 99th percentile and longest, by kind."""
        lines = [f"{'request':<24}{'count':>7}{'p50':>8}{'p99':>8}{'max':>8}"]
        for kind, values in self.seconds.items():
            ordered = sorted(values)
            marks = [ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99, 1)]
            shown = "".join(f"{1000 * mark:>8.0f}" for mark in marks)
            lines.append(f"{kind:<24}{len(ordered):>7}{shown}")
        return "\n".join(lines)


def memory(pid: int) -> str:
    """Return how much memory a process holds and has held at most, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    values = dict(line.split(":", 1) for line in text.splitlines() if line.startswith("Vm"))
    held, most = (int(values[name].split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))
    return f"{held} MiB, at most {most} MiB"


def tell(*lines: str) -> None:
    """Print for people who run a test with `-s`, or look at its log."""
    sys.stdout.write("\n".join([*lines, ""]))
