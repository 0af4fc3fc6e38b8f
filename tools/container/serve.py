"""Run one process of a container in the foreground: wait for its health, forward signals.

`serve` runs the image's own command, which Ctrl-C stops cleanly; `run_command` runs a command that
the user typed, which receives the signals as they come.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cli import parse_json
from tools.container.run import Container

GRACE_SECONDS = 10.0
POLL_SECONDS = 0.05
REQUEST_SECONDS = 2.0
FORWARDED = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 3  # The third Ctrl-C kills a typed command.


@dataclass(frozen=True)
class Address:
    """Where the image's command is to listen."""

    host: str
    port: int

    def fill(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """Replace {host} and {port} in arguments."""
        filled = (item.replace("{host}", self.host) for item in arguments)
        return tuple(item.replace("{port}", str(self.port)) for item in filled)

    @property
    def reachable(self) -> str:
        """The address to connect to: a wildcard is reached through loopback."""
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - replaced
        return loopback.get(self.host, self.host)

    @property
    def url(self) -> str:
        """The address as a user types it."""
        host = f"[{self.reachable}]" if ":" in self.reachable else self.reachable
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Served:
    """The image's command and everything the report of its start names."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    address: Address
    health_path: str
    stop_signal: int
    data: Path | None
    digest: str


@dataclass(frozen=True)
class Response:
    """What the health path said. `status` 0 means no answer; then `text` is the reason."""

    status: int
    text: str

    @property
    def healthy(self) -> bool:
        """Whether the status is a success."""
        return 200 <= self.status < 300

    @property
    def worker(self) -> str:
        """The `worker` key of a JSON response, "" when there is none."""
        try:
            value = parse_json(self.text).get("worker", "")
        except (ValueError, AttributeError):
            return ""
        return value if isinstance(value, str) else json.dumps(value)


def ask(address: Address, path: str) -> Response:
    """Make one GET request; whatever the server does, raise nothing."""
    connection = http.client.HTTPConnection(
        address.reachable, address.port, timeout=REQUEST_SECONDS
    )
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return Response(reply.status, reply.read(1 << 20).decode("utf-8", "replace"))
    except (OSError, http.client.HTTPException) as error:
        return Response(0, str(error) or type(error).__name__)
    finally:
        connection.close()


@contextlib.contextmanager
def collected(signals: Sequence[signal.Signals]) -> Iterator[tuple[list[int], int]]:
    """Collect signals instead of dying from them; yield the list and a descriptor to wait on."""
    arrived: list[int] = []
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    before = {number: signal.getsignal(number) for number in signals}
    old_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda which, _: arrived.append(which))
    try:
        yield arrived, read_end
    finally:
        signal.set_wakeup_fd(old_wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read_end)
        os.close(write_end)


def _pause(container: Container, wake: int, seconds: float) -> None:
    """Wait for news of the container or a signal, at most `seconds`."""
    ready = select.select([container.fileno(), wake], [], [], seconds)[0]
    if wake in ready:
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)


def run_command(
    container: Container, command: Sequence[str], *, env: Mapping[str, str], workdir: str
) -> int:
    """Run a command with the caller's stdin, stdout and stderr; return its exit code."""
    with collected(FORWARDED) as (arrived, wake):
        number = container.spawn(command, env=env, workdir=workdir, stdin=0, stdout=1, stderr=2)
        interrupts = 0
        while (code := container.poll(number)) is None:
            while arrived:
                which = arrived.pop(0)
                if which == signal.SIGWINCH and container.resize(number):
                    continue
                interrupts += which in STOPPING
                container.signal(number, signal.SIGKILL if interrupts >= PATIENCE else which)
            _pause(container, wake, 1.0)
        return code


def serve(container: Container, served: Served, *, start_timeout: float) -> int:
    """Start the image's command, report when it is healthy, and stop it on request.

    Return 0 after a clean stop, 128 + the signal when it had to be killed, 1 when it never
    became healthy, and its own exit code (1 for 0) when it ended by itself.
    """
    started = time.monotonic()
    with collected(STOPPING) as (arrived, wake), open(os.devnull, "rb") as null:
        main = container.spawn(
            served.argv, env=served.env, workdir=served.workdir,
            stdin=null.fileno(), stdout=1, stderr=2,
        )  # fmt: skip
        healthy = False
        response = Response(0, "")
        while (code := container.poll(main)) is None:
            if arrived:
                return _stop(container, main, served, arrived, wake)
            if not healthy:
                response = ask(served.address, served.health_path)
                healthy = response.healthy
                if healthy:
                    print(_report(served, response, time.monotonic() - started), flush=True)
                elif time.monotonic() - started > start_timeout:
                    _report_unhealthy(served, response, start_timeout)
                    _stop(container, main, served, [signal.SIGTERM], wake)
                    return 1
            _pause(container, wake, POLL_SECONDS if not healthy else 3600.0)
        if arrived:  # Stopped on request: the signal reached the image's command as well.
            print(f"{served.name}: stopped", file=sys.stderr)
            return 0
        when = "after it was healthy" if healthy else "before it was healthy"
        print(f"{served.name}: the image's command ended {when}, exit code {code}", file=sys.stderr)
        return code or 1


def _stop(container: Container, main: int, served: Served, arrived: list[int], wake: int) -> int:
    """Ask the main process to end; kill it after the grace period or at a second request."""
    cause = arrived.pop(0)
    container.signal(main, served.stop_signal)
    end = time.monotonic() + GRACE_SECONDS
    while container.poll(main) is None:
        left = end - time.monotonic()
        if left <= 0 or arrived:
            why = "second stop request" if arrived else f"still running after {GRACE_SECONDS:g} s"
            print(f"{served.name}: {why}, killing it", file=sys.stderr)
            container.signal(main, signal.SIGKILL)
            container.wait(main, GRACE_SECONDS)
            return 128 + cause
        _pause(container, wake, left)
    print(f"{served.name}: stopped", file=sys.stderr)
    return 0


def _report(served: Served, response: Response, seconds: float) -> str:
    lines = [
        f"{served.name}: healthy after {seconds:.1f} s",
        f"  url     {served.address.url}",
        f"  worker  {response.worker}" if response.worker else "",
        f"  data    {served.data}" if served.data else "",
        f"  image   {served.digest}",
        "  stop    Ctrl-C",
    ]
    return "\n".join(line for line in lines if line)


def _report_unhealthy(served: Served, response: Response, seconds: float) -> None:
    said = f"status {response.status}: {response.text[:400]}" if response.status else response.text
    print(
        f"{served.name}: not healthy within {seconds:g} s; {served.address.url}"
        f"{served.health_path}: last response: {said}",
        file=sys.stderr,
    )
