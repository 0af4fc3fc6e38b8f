"""The tests of `image_test`: healthcheck, entrypoint and invariants of an image."""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import re2

from tools.container.config import image_stop_signal
from tools.container.healthcheck import Health, watch
from tools.image.tree import Entry
from tools.linux.signals import parse_signal
from tools.structure_test.checks import TAIL, Outcome, patterns
from tools.structure_test.go_text import PatternError, file_mode, search
from tools.structure_test.image_schema import (
    EntrypointTest,
    HealthcheckTest,
    Invariants,
    Request,
    Start,
)
from tools.structure_test.image_under_test import ImageUnderTest, Started
from tools.structure_test.options import Options

POLL_SECONDS = 0.05
REQUEST_SECONDS = 30.0
MAX_BODY = 1 << 20
LISTED = 10  # Offending paths named in one error.


@contextmanager
def _main_process(started: Started, command: tuple[str, ...]) -> Iterator[tuple[int, IO[bytes]]]:
    """Start the image's command, or another; yield its number and its log."""
    argv = command or started.settings.argv
    # A file, not a pipe: it never fills up and can be read repeatedly.
    with tempfile.TemporaryFile() as log, Path(os.devnull).open("rb") as null:
        number = started.container.spawn(
            argv, env=started.env, workdir=started.settings.workdir,
            stdin=null.fileno(), stdout=log.fileno(), stderr=log.fileno(),
        )  # fmt: skip
        yield number, log


def _options(start: Start) -> Options:
    return Options(
        env=start.env, user=start.user, read_only=start.read_only_root, writable=start.writable
    )


def _read_log(log: IO[bytes]) -> str:
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), min(size, 16 << 20), 0).decode("utf-8", "replace")


def check_healthcheck(subject: ImageUnderTest, test: HealthcheckTest) -> Outcome:
    """Run the image's own healthcheck against its own command."""
    check = subject.settings.healthcheck
    if check is None:
        return Outcome(("the image has no healthcheck (Healthcheck in its configuration)",))
    if test.interval is not None:
        check = replace(check, interval=test.interval, start_interval=test.interval)
    with (
        subject.start(_options(test)) as started,
        _main_process(started, test.command) as (number, log),
    ):
        health = watch(
            started.container, check, main=number, env=started.env,
            workdir=started.settings.workdir, within=test.within,
        )  # fmt: skip
        output = _read_log(log)[-TAIL:]
    if health.status == test.expect:
        return Outcome(stdout=_describe(health))
    return Outcome(
        (f"expected {test.expect} within {test.within:g} s, found {_describe(health)}",),
        stdout=output,
    )


def _describe(health: Health) -> str:
    last = f"; the last: {health.probes[-1].detail}" if health.probes else ""
    return f"{health.status} after {health.seconds:.1f} s, {len(health.probes)} probe(s){last}"


def check_entrypoint(subject: ImageUnderTest, test: EntrypointTest) -> Outcome:
    """Start the image's command, wait for it, send requests and stop it."""
    name = test.signal or subject.settings.stop_signal
    which = parse_signal(test.signal) if test.signal else image_stop_signal(subject.settings)
    with (
        subject.start(_options(test)) as started,
        _main_process(started, test.command) as (number, log),
    ):
        errors = _wait_until_up(started, test, number, log)
        if not errors:
            for request in test.requests:
                errors += _request(started, test.wait_for_port, request)
            started.container.signal(number, which)
            errors += _stopped(started, test, number, name)
        output = _read_log(log)[-TAIL:]
    return Outcome(tuple(errors), stdout=output)


def _wait_until_up(
    started: Started, test: EntrypointTest, number: int, log: IO[bytes]
) -> list[str]:
    end = time.monotonic() + test.within
    port_open, logged = not test.wait_for_port, not test.wait_for_log
    while not (port_open and logged):
        if not port_open:
            try:
                started.container.connect(test.wait_for_port).close()
                port_open = True
            except OSError:
                pass
        if not logged:
            try:
                logged = search(test.wait_for_log, _read_log(log))
            except PatternError as error:
                return [f"waitForLog: {error}"]
        code = started.container.wait(number, POLL_SECONDS)
        if code is not None:
            return [f"the command exited before it was up, exit code {code}"]
        if time.monotonic() > end and not (port_open and logged):
            what = (
                "the log line was missing" if port_open else f"port {test.wait_for_port} was closed"
            )
            return [f"{what} after {test.within:g} s"]
    return []


def _request(started: Started, port: int, request: Request) -> list[str]:
    what = f"GET {request.path}"
    try:
        status, body = _get(started.container.connect(port), port, request.path)
    except (OSError, http.client.HTTPException) as error:
        return [f"{what}: {str(error) or type(error).__name__}"]
    errors = []
    if status != request.status:
        errors.append(f"{what}: status: expected {request.status}, found {status}: {body[:TAIL]!r}")
    return errors + patterns(f"body of {what}", body, request.body, ())


def _get(handle: socket.socket, port: int, path: str) -> tuple[int, str]:
    """Send a GET request over a connection made inside the container."""
    handle.settimeout(REQUEST_SECONDS)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.sock = handle
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        reply = connection.getresponse()
        return reply.status, reply.read(MAX_BODY).decode("utf-8", "replace")
    finally:
        connection.close()


def _stopped(started: Started, test: EntrypointTest, number: int, name: str) -> list[str]:
    code = started.container.wait(number, test.grace)
    if code is None:
        return [f"still running {test.grace:g} s after {name}"]
    if code not in test.exit_codes:
        wanted = " or ".join(map(str, test.exit_codes))
        return [f"exit code after {name}: expected {wanted}, found {code}"]
    return []


def check_invariants(subject: ImageUnderTest, test: Invariants) -> Outcome:
    """Check every path of the image against the layers' headers."""
    entries = list(subject.tree.entries())
    errors: list[str] = []

    def forbid(what: str, found: list[tuple[str, Entry]]) -> None:
        if found:
            names = ", ".join(
                f"{path} ({file_mode(entry)} {entry.uid}:{entry.gid})"
                for path, entry in found[:LISTED]
            )
            more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
            errors.append(f"{what}: {names}{more}")

    if test.no_set_id:
        forbid("set-uid or set-gid files", [x for x in entries if x[1].mode & 0o6000])
    if test.world_writable is not None:
        forbid(
            "world-writable",
            [
                (path, entry)
                for path, entry in entries
                if entry.mode & 0o002
                and entry.kind not in ("symlink", "char")
                and path not in test.world_writable
            ],
        )
    if test.uids is not None:
        forbid("owned by an unknown uid", [x for x in entries if x[1].uid not in test.uids])
    if test.gids is not None:
        forbid("owned by an unknown gid", [x for x in entries if x[1].gid not in test.gids])
    for glob in test.forbidden:
        pattern = re2.compile(glob_pattern(glob))
        forbid(f"forbidden by {glob!r}", [x for x in entries if pattern.fullmatch(x[0])])
    # A file counts once, however many hard links it has.
    size = sum(entry.size for _, entry in entries if not entry.hardlink)
    if test.max_bytes is not None and size > test.max_bytes:
        errors.append(f"size: at most {test.max_bytes} bytes, found {size}")
    layers = len(subject.image.layers)
    if test.max_layers is not None and layers > test.max_layers:
        errors.append(f"layers: at most {test.max_layers}, found {layers}")
    return Outcome(tuple(errors))


def glob_pattern(glob: str) -> str:
    """Return a glob as RE2: `*` and `?` stop at a slash, `**` does not, `**/` may be empty."""
    out, position = "", 0
    while position < len(glob):
        if glob.startswith("**/", position):
            out, position = out + "(?:.*/)?", position + 3
        elif glob.startswith("**", position):
            out, position = out + ".*", position + 2
        else:
            letter = glob[position]
            out += {"*": "[^/]*", "?": "[^/]"}.get(letter, re2.escape(letter))
            position += 1
    return f"(?s){out}"
