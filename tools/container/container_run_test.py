"""`serve` as a user meets it: a process of its own, signals, ports, data, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.container import container_run
from tools.container.container_run import (
    caller_path,
    data_directory,
    listen,
    parse_flags,
    read_env,
)
from tools.container.serve import Address, Response
from tools.image.images_for_test import (
    PYTHON,
    PYTHON_ENV,
    Member,
    program_layer,
    python_layer,
    write_image,
)

SERVER = """
import http.server, json, os, signal, sys
host, port = sys.argv[sys.argv.index("--host") + 1], int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        starts = open("/app/data/starts").read().count("x")
        self.send_response(503 if os.environ.get("SICK") else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"worker": "embedded", "starts": starts}).encode())
    def log_message(self, *_):
        pass
def stop(number, _):
    print("orderly end" + ("" if number == signal.SIGTERM else f" by {number}"), flush=True)
    sys.exit(0)
if os.environ.get("CRASH"):
    sys.exit(9)
open("/app/data/starts", "a").write("x")
for number in (signal.SIGTERM, signal.SIGRTMIN + 3):
    signal.signal(number, signal.SIG_IGN if os.environ.get("DEAF") else stop)
http.server.HTTPServer((host, port), Handler).serve_forever()
"""


class Machine:
    """A runfiles directory with an image in it, and homes for cache and state."""

    def __init__(self, folder: Path, runfiles: Path) -> None:
        self.folder = folder
        self.runfiles = runfiles
        self.data = folder / "state" / "ws" / "backend"
        self.env = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "XDG_STATE_HOME": str(folder / "state"),
            "XDG_CACHE_HOME": str(runfiles / "cache"),
            "BUILD_WORKING_DIRECTORY": str(folder),
        }

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Starts serve in a session of its own, as a terminal would in the foreground."""
        command = [
            sys.executable, "-m", "tools.container.container_run",
            "--runfiles", str(self.runfiles), "--target", "target.json", *flags,
        ]  # fmt: skip
        return subprocess.Popen(
            command, env=self.env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def run(self, *flags: str) -> tuple[int, str, str]:
        """Runs serve to its end."""
        with self.start(*flags) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def runfiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runfiles(tmp_path_factory.mktemp("runfiles"))


def write_runfiles(folder: Path, **changes: str) -> Path:
    config = {
        "User": "app",
        "WorkingDir": "/app",
        "Env": [PYTHON_ENV, "PATH=/bin", "FROM=image"],
        "Cmd": [*PYTHON, "/app/server.py", "--host", "0.0.0.0", "--port", "8000"],
        **changes,
    }
    # The last --host and --port count, as with the servers people use.
    server = SERVER.replace("sys.argv.index", "last")
    server = (
        "import sys\ndef last(name):\n"
        "    return len(sys.argv) - 1 - sys.argv[::-1].index(name)\n" + server
    )
    files = [Member("app/server.py", server.encode())]
    write_image(folder / "image", [program_layer(), python_layer(), files], config)
    target = {
        "name": "serve",
        "state": "ws/backend",
        "image": "image",
        "port": 8000,
        "health_path": "/health",
        "data_volume": "/app/data",
        "serve_args": ["--host", "{host}", "--port", "{port}"],
    }
    (folder / "target.json").write_text(json.dumps(target))
    return folder


@pytest.fixture
def machine(runfiles: Path) -> Iterator[Machine]:
    # Not tmp_path: under Bazel that lies in the output tree, where data is refused.
    with tempfile.TemporaryDirectory(prefix="serve-test-") as folder:
        yield Machine(Path(folder), runfiles)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the test's directory count as one outside Bazel's output tree."""
    monkeypatch.setattr(container_run, "OUTPUT_MARKER", "marker-of-this-test")


def report(process: subprocess.Popen[str]) -> dict[str, str]:
    """Reads the block that serve prints when it is healthy."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        words = line.split(None, 1)
        found[words[0]] = words[1].strip()
        if words[0] == "stop":
            return found
    assert process.stderr is not None
    raise AssertionError(f"ended with {process.wait()}: {process.stderr.read()}")


def starts(url: str) -> int:
    with urllib.request.urlopen(f"{url}/health", timeout=10) as reply:
        return int(json.load(reply)["starts"])


def test_it_reports_when_healthy_and_ctrl_c_stops_it_cleanly_and_data_survives(
    machine: Machine,
) -> None:
    for attempt in (1, 2):
        with machine.start("--port", "0") as process:
            found = report(process)
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", found["url"])
            assert found["worker"] == "embedded"
            assert found["data"] == str(machine.data)
            assert found["image"].startswith("sha256:")
            assert starts(found["url"]) == attempt
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert process.returncode == 0
        assert out == "orderly end\n"
        assert err.endswith("serve: stopped\n")
    assert (machine.data / "starts").stat().st_uid == os.geteuid()
    assert list((machine.runfiles / "cache/pinned_image/rootfs/runs").iterdir()) == []


def test_the_images_own_stop_signal_is_sent(machine: Machine, tmp_path: Path) -> None:
    machine.runfiles = write_runfiles(tmp_path, StopSignal="RTMIN+3")
    with machine.start("--port", "0") as process:
        report(process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "orderly end by 37\n")


def test_an_unknown_stop_signal_is_an_error_before_anything_starts(
    machine: Machine, tmp_path: Path
) -> None:
    machine.runfiles = write_runfiles(tmp_path, StopSignal="HALT")
    code, out, err = machine.run("--port", "0")
    assert (code, out) == (1, "")
    assert err.startswith("serve: the image's StopSignal: 'HALT' is not a signal; write a name")


def test_a_second_ctrl_c_kills_what_does_not_listen(machine: Machine) -> None:
    with machine.start("--port", "0", "--env", "DEAF=1") as process:
        report(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "second stop request, killing it" in err


def test_a_signal_to_every_one_of_its_processes_stops_it_cleanly(machine: Machine) -> None:
    def below(pid: int) -> list[int]:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found] + [x for child in found for x in below(int(child))]

    for number in (signal.SIGINT, signal.SIGTERM):
        with machine.start("--port", "0") as process:
            report(process)
            everyone = [process.pid, *below(process.pid)]
            assert len(everyone) == 4  # serve, the shim, PID 1, the image's command
            for pid in everyone:
                os.kill(pid, number)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 0
        assert err.endswith("serve: stopped\n")


def test_a_command_replaces_the_images_and_its_exit_code_is_passed_on(machine: Machine) -> None:
    script = "echo $FROM $GIVEN; pwd; echo kept > data/file; echo loud >&2; exit 42"
    code, out, err = machine.run("--env", "GIVEN=by flag", "sh", "-c", script)
    assert (code, out, err.splitlines()[-1]) == (42, "image by flag\n/app\n", "loud")
    assert (machine.data / "file").read_text() == "kept\n"
    code, out, _ = machine.run("--data-dir", "else", "--", "ls", "/app/data")
    assert (code, out) == (0, "")
    assert (machine.folder / "else").is_dir()


def test_a_command_gets_the_signals_as_they_come(machine: Machine) -> None:
    script = "trap 'echo int' INT; trap 'exit 5' TERM; echo up; while true; do sleep 0.05; done"
    with machine.start("sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "int\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 5


def test_a_command_that_does_not_exist_is_127(machine: Machine) -> None:
    code, _, err = machine.run("nothing")
    assert (code, err.splitlines()[-1]) == (
        127, "serve: exec: 'nothing': not found in the image's $PATH",
    )  # fmt: skip


def test_a_port_in_use_is_an_error_before_anything_starts(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = machine.run("--port", str(port))
    assert code == 1
    assert err == (
        f"serve: cannot listen on 127.0.0.1 port {port}: Address already in use; stop what uses "
        f"port {port}, or choose another with --port\n"
    )
    assert not machine.data.exists()


def test_an_image_that_ends_early_is_reported_with_its_code(machine: Machine) -> None:
    code, _, err = machine.run("--port", "0", "--env", "CRASH=1")
    assert code == 9
    assert err.endswith("serve: the image's command ended before it was healthy, exit code 9\n")


def test_unhealthy_image_is_stopped_and_its_last_response_shown(
    machine: Machine,
) -> None:
    code, _, err = machine.run("--port", "0", "--env", "SICK=1", "--start-timeout", "5")
    assert code == 1
    assert "serve: not healthy within 5 s; http://127.0.0.1:" in err
    assert 'last response: status 503: {"worker": "embedded"' in err


def test_secrets_are_never_printed(machine: Machine) -> None:
    (machine.folder / "secrets").write_text("# mine\n\nTOKEN=s3cret\n")
    with machine.start("--port", "0", "--env-file", "secrets", "--env", "KEY=hidden") as process:
        report(process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "s3cret" not in out + err
    assert "hidden" not in out + err


def test_help_names_every_flag(machine: Machine) -> None:
    code, out, _ = machine.run("--help")
    assert code == 0
    for flag in ("--port", "--host", "--data-dir", "--env", "--env-file", "COMMAND"):
        assert flag in out
    assert "--target" not in out


@pytest.mark.parametrize(
    ("argv", "port", "command"),
    [
        (["--port", "1"], 1, []),
        (["--port", "1", "alembic", "upgrade", "--port"], 1, ["alembic", "upgrade", "--port"]),
        (["--", "ls", "-l"], None, ["ls", "-l"]),
        (["ls", "--", "-l"], None, ["ls", "--", "-l"]),
    ],
)
def test_the_first_argument_that_is_no_flag_begins_the_command(
    argv: list[str], port: int | None, command: list[str]
) -> None:
    flags, found = parse_flags(["--runfiles", "r", "--target", "t", *argv])
    assert (flags.port, found) == (port, command)


def test_environment_files_and_flags_are_merged_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("A=1\nB=x=y\n")
    assert read_env([tmp_path / "a"], ["A=2"]) == {"A": "2", "B": "x=y"}


def test_a_value_in_a_file_is_the_rest_of_its_line(tmp_path: Path) -> None:
    text = ' A=1 \r\n\t# B=2\n \nC="3"\nD=a\rb\x0bc\x1cd\u2028e\u0085\n'
    (tmp_path / "a").write_bytes(text.encode())
    assert read_env([tmp_path / "a"], []) == {
        "A": "1 ", "C": '"3"', "D": "a\rb\x0bc\x1cd\u2028e\u0085",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pairs", "cause"),
    [
        ("A=1\nsecret\n", [], "line 2: is not KEY=VALUE"),
        ("", ["A=1", "secret"], "--env number 2: is not KEY=VALUE"),
        ("", ["=secret"], "--env number 1: is not KEY=VALUE"),
        (None, [], "cannot be read"),
    ],
)
def test_malformed_environment_is_refused_without_repeating_it(
    tmp_path: Path, text: str | None, pairs: list[str], cause: str
) -> None:
    if text is not None:
        (tmp_path / "env").write_text(text)
    with pytest.raises(ToolError) as caught:
        read_env([tmp_path / "env"], pairs)
    assert cause in str(caught.value)
    assert "secret" not in str(caught.value)


def test_data_among_build_outputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / container_run.OUTPUT_MARKER).touch()
    with pytest.raises(ToolError, match="lies in Bazel's output tree"):
        data_directory(tmp_path / "execroot" / "data", "s", {})
    assert not (tmp_path / "execroot").exists()


@pytest.mark.usefixtures("outside")
def test_uncreatable_data_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match="file/x: cannot be created: Not a directory"):
        data_directory(tmp_path / "file" / "x", "s", {})


@pytest.mark.usefixtures("outside")
def test_data_lies_below_the_state_home_unless_chosen(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert data_directory(None, "ws/b", home) == tmp_path / ".local/state/ws/b"
    assert (tmp_path / ".local/state/ws/b").stat().st_mode & 0o777 == 0o700
    assert caller_path(Path("x"), {"BUILD_WORKING_DIRECTORY": "/there"}) == Path("/there/x")


@pytest.mark.parametrize(
    ("host", "port", "cause"),
    [
        ("no.such.host.invalid", 80, "--host no.such.host.invalid: no such address"),
        ("127.0.0.1", 99999, "--port 99999: expected 0 to 65535"),
        ("192.0.2.1", 80, "cannot listen on 192.0.2.1 port 80: Cannot assign"),
    ],
)
def test_unusable_addresses_are_refused(host: str, port: int, cause: str) -> None:
    with pytest.raises(ToolError, match=cause):
        listen(host, port)


def test_addresses_are_shown_as_they_can_be_reached() -> None:
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Address("::1", 80).url == "http://[::1]:80"
    assert Address("h", 80).fill(["--bind", "{host}:{port}"]) == ("--bind", "h:80")


@pytest.mark.parametrize(
    ("answer", "healthy", "worker"),
    [
        (Response(200, '{"worker": "on"}'), True, "on"),
        (Response(204, ""), True, ""),
        (Response(200, '{"worker": {"state": "ok"}}'), True, '{"state": "ok"}'),
        (Response(200, "[1]"), True, ""),
        (Response(503, "x"), False, ""),
        (Response(0, "refused"), False, ""),
    ],
)
def test_health_responses_are_parsed(answer: Response, healthy: bool, worker: str) -> None:
    assert (answer.healthy, answer.worker) == (healthy, worker)
