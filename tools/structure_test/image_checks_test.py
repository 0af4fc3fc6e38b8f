"""Healthcheck, entrypoint and invariants, each kept and each broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import re2

from tools.image.images_for_test import (
    PYTHON,
    PYTHON_ENV,
    Member,
    hard_link,
    program_layer,
    python_layer,
    write_image,
)
from tools.structure_test.image_checks import glob_pattern
from tools.structure_test.suite import RunnerConfig, Selection, read_suite, run_suite

BODY = '{"status": "ok"}'
Run = Callable[..., list[str]]
SERVER = """
import http.server, os, signal, sys
if os.environ.get("BROKEN"):
    sys.exit("broken on purpose")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path == "/health" and not os.environ.get("SICK")
        self.send_response(200 if good else 503)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}' if good else b"not well")
def stop(*_):
    sys.exit(int(os.environ.get("CODE", "0")))
signal.signal(signal.SIGTERM, signal.SIG_IGN if os.environ.get("DEAF") else stop)
server = http.server.HTTPServer(("127.0.0.1", 8000), Handler)
print("serving", flush=True)
server.serve_forever()
"""
HEALTH = """
import sys, urllib.request
sys.exit(urllib.request.urlopen("http://127.0.0.1:8000/health").status != 200)
"""
SECOND = 1_000_000_000
CONFIG = {
    "User": "app",
    "Env": [PYTHON_ENV, "PATH=/bin"],
    "Cmd": [*PYTHON, "/app/server.py"],
    "Healthcheck": {
        "Test": ["CMD", *PYTHON, "/app/health.py"],
        "Interval": SECOND // 5,
        "Timeout": 10 * SECOND,
        "Retries": 2,
    },
}
FILES = [
    Member("app/server.py", SERVER.encode()),
    Member("app/health.py", HEALTH.encode()),
    Member("app/su", b"x" * 1000, mode=0o4755, uid=77, gid=88),
    hard_link("app/su2", "app/su"),
    Member("app/open", b"x", mode=0o666),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    return write_image(folder / "layout", [program_layer(), python_layer(), FILES], CONFIG).path


@pytest.fixture
def run(image: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    cache = tmp_path_factory.getbasetemp() / "server-cache"

    def execute(section: str, value: object, *, layout: Path = image) -> list[str]:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"schemaVersion": "image_test/1", section: value}))
        suite = read_suite([], [path], timeout=30, environ={})
        assert not suite.broken
        results = run_suite(layout, suite, Selection(), RunnerConfig("namespace", {}, cache))
        return [error for result in results for error in result.errors]

    return execute


def test_the_images_own_healthcheck_becomes_healthy(run: Run) -> None:
    assert run("healthcheckTests", [{"name": "t", "within": 60}]) == []


def test_a_broken_image_is_unhealthy_and_may_be_expected_to_be(run: Run) -> None:
    sick = {"name": "t", "env": {"SICK": "1"}, "within": 60, "interval": 0.1}
    assert run("healthcheckTests", [{**sick, "expect": "unhealthy"}]) == []
    (error,) = run("healthcheckTests", [sick])
    assert error.startswith("expected healthy within 60 s, found unhealthy after ")
    assert ", 2 probe(s); the last: exit code 1: " in error
    assert "503" in error


def test_an_image_that_ends_is_neither(run: Run) -> None:
    # No probe before the end, however slowly the image starts.
    test = {"name": "t", "env": {"BROKEN": "1"}, "within": 60, "interval": 30}
    (error,) = run("healthcheckTests", [test])
    assert error.startswith("expected healthy within 60 s, found exited after ")


def test_a_healthy_image_is_not_unhealthy(run: Run) -> None:
    (error,) = run("healthcheckTests", [{"name": "t", "expect": "unhealthy", "within": 60}])
    assert error.startswith("expected unhealthy within 60 s, found healthy after ")


def test_another_command_shows_that_the_healthcheck_notices(run: Run) -> None:
    idle = {"name": "t", "command": ["sleep", "100"], "expect": "unhealthy", "within": 60}
    assert run("healthcheckTests", [idle]) == []


def test_a_time_limit_that_is_too_short_is_reported(run: Run) -> None:
    (error,) = run("healthcheckTests", [{"name": "t", "within": 0.1}])
    assert error.startswith("expected healthy within 0.1 s, found starting after 0.1 s, 0 probe(s)")


def test_an_image_without_a_healthcheck_fails(run: Run, tmp_path: Path) -> None:
    layout = write_image(tmp_path / "bare", [[Member("x")]], {}).path
    assert run("healthcheckTests", [{"name": "t"}], layout=layout) == [
        "the image has no healthcheck (Healthcheck in its configuration)"
    ]


def entrypoint(**fields: object) -> list[dict[str, Any]]:
    return [{"name": "t", "within": 60, **fields}]


ENTRYPOINTS: list[tuple[list[dict[str, Any]], list[str]]] = [
    (
        entrypoint(
            waitForPort=8000,
            waitForLog="serv",
            requests=[
                {"path": "/health", "body": ['"status": "ok"']},
                {"path": "/else", "status": 503},
            ],
        ),
        [],
    ),
    (entrypoint(waitForLog="serving"), []),
    (
        entrypoint(waitForPort=8000, requests=[{"path": "/else"}]),
        ["GET /else: status: expected 200, found 503: 'not well'"],
    ),
    (
        entrypoint(waitForPort=8000, requests=[{"path": "/health", "body": ["bad"]}]),
        [f"body of GET /health does not match the expected pattern 'bad'; it is {BODY!r}"],
    ),
    (
        entrypoint(waitForPort=8000, env={"BROKEN": "1"}),
        ["the command exited before it was up, exit code 1"],
    ),
    (entrypoint(waitForPort=81, within=0.5), ["port 81 was closed after 0.5 s"]),
    (entrypoint(waitForLog="no", within=0.5), ["the log line was missing after 0.5 s"]),
    (
        entrypoint(waitForPort=8000, env={"DEAF": "1"}, grace=0.3),
        ["still running 0.3 s after SIGTERM"],
    ),
    (
        entrypoint(waitForPort=8000, env={"CODE": "5"}),
        ["exit code after SIGTERM: expected 0, found 5"],
    ),
    (entrypoint(waitForPort=8000, env={"CODE": "5"}, exitCodes=[0, 5]), []),
    (entrypoint(waitForPort=8000, signal="SIGKILL", exitCodes=[137]), []),
    (entrypoint(waitForPort=8000, signal="kill", exitCodes=[137]), []),
    (entrypoint(waitForPort=8000, signal="RTMIN+3", exitCodes=[128 + 37]), []),
    (
        entrypoint(command=["nothing"], waitForPort=1),
        ["exec: 'nothing': not found in the image's $PATH"],
    ),
]


@pytest.mark.parametrize(("tests", "errors"), ENTRYPOINTS)
def test_entrypoint(run: Run, tests: list[dict[str, Any]], errors: list[str]) -> None:
    assert run("entrypointTests", tests) == errors


@pytest.mark.parametrize(
    ("signal", "code"), [("SIGRTMIN+3", 128 + 37), ("RTMIN+3", 128 + 37), ("TERM", 0), ("9", 137)]
)
def test_any_stop_signal_of_dockers_is_sent(
    run: Run, tmp_path: Path, signal: str, code: int
) -> None:
    layers = [program_layer(), python_layer(), FILES]
    layout = write_image(tmp_path / "layout", layers, {**CONFIG, "StopSignal": signal}).path
    test = entrypoint(waitForPort=8000, exitCodes=[code])
    assert run("entrypointTests", test, layout=layout) == []


def test_an_unknown_stop_signal_fails_only_the_tests_that_send_it(run: Run, tmp_path: Path) -> None:
    layers = [program_layer(), python_layer(), FILES]
    layout = write_image(tmp_path / "layout", layers, {**CONFIG, "StopSignal": "HALT"}).path
    (error,) = run("entrypointTests", entrypoint(waitForPort=8000), layout=layout)
    assert error.startswith("the image's StopSignal: 'HALT' is not a signal; ")
    other = entrypoint(waitForPort=8000, signal="TERM")
    assert run("entrypointTests", other, layout=layout) == []
    assert run("invariants", {"maxLayers": 3}, layout=layout) == []


SIZE_ERROR = "size: at most 10 bytes, found "
INVARIANTS: list[tuple[dict[str, Any], str]] = [
    ({"maxLayers": 3, "maxBytes": 10**9, "forbidden": ["**/*.pyo", "/nowhere"]}, ""),
    ({"uids": [0, 77, 1000], "gids": [0, 42, 88, 1000]}, ""),
    ({"worldWritable": ["/tmp", "/app/open"]}, ""),
    (
        {"noSetId": True},
        "set-uid or set-gid files: /app/su (urwxr-xr-x 77:88), /app/su2 (urwxr-xr-x 77:88)",
    ),
    (
        {"worldWritable": []},
        "world-writable: /app/open (-rw-rw-rw- 0:0), /tmp (dtrwxrwxrwx 0:0)",
    ),
    (
        {"uids": [0, 1000]},
        "owned by an unknown uid: /app/su (urwxr-xr-x 77:88), /app/su2 (urwxr-xr-x 77:88)",
    ),
    ({"gids": [0, 88, 1000]}, "owned by an unknown gid: /etc/shadow (-rw-r----- 0:42)"),
    ({"forbidden": ["/app/*.py"]}, "forbidden by '/app/*.py': /app/health.py (-rw-r--r-- 0:0), "),
    ({"maxBytes": 10}, SIZE_ERROR),
    ({"maxLayers": 2}, "layers: at most 2, found 3"),
]


@pytest.mark.parametrize(("section", "error"), INVARIANTS)
def test_invariants(run: Run, section: dict[str, Any], error: str) -> None:
    errors = run("invariants", section)
    assert len(errors) == (1 if error else 0)
    assert "".join(errors).startswith(error)


WRITER = """
import os
open("/app/data/state", "w").write("kept")
if os.environ.get("TEMPORARY"):
    open("/tmp/x", "w").write("kept")
"""


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that works only where it can write to /app/data."""
    folder = tmp_path_factory.mktemp("stateful")
    files = [Member("app/server.py", (WRITER + SERVER).encode()), FILES[1]]
    layers = [program_layer(), python_layer(), files]
    return write_image(folder / "layout", layers, CONFIG).path


def test_restrictions_are_checked_by_the_images_own_healthcheck(run: Run, stateful: Path) -> None:
    restricted = {"readOnlyRoot": True, "arbitraryUid": 12345}
    assert run("invariants", {**restricted, "writable": ["/app/data"]}, layout=stateful) == []
    errors = run("invariants", restricted, layout=stateful)
    assert len(errors) == 2
    for error in errors:
        assert error.startswith("expected healthy within 120 s, found exited after ")


def test_a_declared_volume_is_writable_under_a_read_only_root(
    run: Run, stateful: Path, tmp_path: Path
) -> None:
    files = [Member("app/server.py", (WRITER + SERVER).encode()), FILES[1]]
    layers = [program_layer(), python_layer(), files]
    config = {**CONFIG, "Volumes": {"/app/data": {}}}
    layout = write_image(tmp_path / "layout", layers, config).path
    assert run("invariants", {"readOnlyRoot": True}, layout=layout) == []
    (error,) = run("invariants", {"readOnlyRoot": True}, layout=stateful)
    assert error.startswith("expected healthy within 120 s, found exited after ")


def test_each_test_may_restrict_how_the_image_starts(run: Run, stateful: Path) -> None:
    fields = {"waitForPort": 8000, "readOnlyRoot": True, "env": {"TEMPORARY": "1"}}
    good = entrypoint(**fields, writable=["/app/data", "/tmp"], user="12345:0")
    assert run("entrypointTests", good, layout=stateful) == []
    bad = entrypoint(**fields, writable=["/app/data"])
    assert run("entrypointTests", bad, layout=stateful) == [
        "the command exited before it was up, exit code 1"
    ]
    shown = {"name": "t", "within": 60, "user": "12345"}
    (error,) = run("healthcheckTests", [shown], layout=stateful)
    assert error.startswith("expected healthy within 60 s, found exited after ")


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/a/*.py", "/a/b.py", True),
        ("/a/*.py", "/a/b/c.py", False),
        ("**/*.py", "/a/b/c.py", True),
        ("/a/**/c.py", "/a/c.py", True),
        ("/a/**", "/a/b/c", True),
        ("/a/?", "/a/b", True),
        ("/a.b", "/axb", False),
    ],
)
def test_globs_stop_at_slashes_unless_doubled(glob: str, path: str, matches: bool) -> None:
    assert (re2.compile(glob_pattern(glob)).fullmatch(path) is not None) is matches
