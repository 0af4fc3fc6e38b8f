"""`driver = "docker"` with a real Podman: that of the lock, without root and without a daemon."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.container.run import ContainerError
from tools.image.images_for_test import Member, directory, program_layer, write_image
from tools.structure_test import podman_for_test
from tools.structure_test.engine import _flags, choose_engine
from tools.structure_test.options import Options
from tools.structure_test.suite import RunnerConfig, Selection, read_suite, run_suite

CONFIG = {
    "WorkingDir": "/app",
    "Env": ["PATH=/bin", "NAME=world"],
    "Entrypoint": ["/bin/false"],
    "Volumes": {"/kept": {}},
}
Run = Callable[..., list[str]]


def command(script: str, **fields: object) -> dict[str, Any]:
    return {"name": "t", "command": "sh", "args": ["-c", script], **fields}


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that is Podman, with storage of its own."""
    folder = tmp_path_factory.mktemp("podman")
    tree = Path(os.environ["SKOPEO"]).resolve().parents[2]
    program = folder / "podman"
    words = [sys.executable, podman_for_test.__file__, str(tree), str(folder / "state")]
    words.append(str(tmp_path_factory.getbasetemp()))
    path = f"PYTHONPATH={shlex.quote(os.pathsep.join(sys.path))}"
    program.write_text(f'#!/bin/sh\n{path} exec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return str(program)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = [directory("kept"), Member("opt/run", b"#!", mode=0o6750, uid=7, gid=8)]
    layout = tmp_path_factory.mktemp("image") / "layout"
    return write_image(layout, [program_layer(), files], CONFIG).path


@pytest.fixture
def run(podman: str, image: Path, tmp_path: Path) -> Run:
    def execute(config: dict[str, Any], *, name: str = "", timeout: float = 60) -> list[str]:
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"schemaVersion": "2.0.0", **config}))
        suite = read_suite([path], [], timeout=timeout, environ={})
        assert not suite.broken
        environ = {**os.environ, "TEST_TMPDIR": str(tmp_path)}
        runner = RunnerConfig("docker", environ, engine=podman)
        results = run_suite(name or image, suite, Selection(), runner)
        return [error for result in results for error in result.errors]

    return execute


def test_commands_run_in_podman_and_the_rest_is_read_from_the_layers(run: Run) -> None:
    config = {
        "globalEnvVars": [{"key": "G", "value": "hi $NAME"}],
        "commandTests": [
            command(
                "cat /tmp/a /kept/b; echo $G; pwd; env; echo err >&2; exit 3",
                setup=[["sh", "-c", "echo one > /tmp/a"], ["sh", "-c", "echo two > /kept/b"]],
                teardown=[["ls", "/kept/b"]],
                envVars=[{"key": "OWN", "value": "$NAME"}],
                expectedOutput=["^one\ntwo\nhi world\n/app\n", "(?m)^OWN=[$]NAME$"],
                expectedError=["^err\n$"],
                exitCode=3,
            ),
            {"name": "missing", "command": "nothing", "exitCode": 127},
            {"name": "no program", "command": "/etc/passwd", "exitCode": 126},
            command("exit 127", exitCode=127),
        ],
        "fileExistenceTests": [
            {"name": "t", "path": "/opt/run", "permissions": "ugrwxr-x---", "uid": 7, "gid": 8}
        ],
    }
    assert run(config) == []


def test_failures_in_podman_are_reported_as_elsewhere(run: Run) -> None:
    tests = [
        command("echo hello; exit 1", expectedOutput=["bye"]),
        command("true", setup=[["sh", "-c", "echo why >&2; exit 4"]]),
        command("true", teardown=[["false"]]),
        {"name": "t", "command": "nothing"},
    ]
    assert run({"commandTests": tests}) == [
        "stdout does not match the expected pattern 'bye'; it is 'hello\\n'",
        "exit code: expected 0, found 1",
        "setup ['sh', '-c', 'echo why >&2; exit 4']: exit code 4: 'why\\n'",
        "teardown ['false']: exit code 1: ''",
        "exit code: expected 0, found 127",
    ]


def test_a_command_that_never_ends_is_killed(run: Run) -> None:
    errors = run({"commandTests": [command("sleep 100")]}, timeout=2)
    assert errors[0] == "the command timed out after 2 s and was killed"


def test_run_options_reach_podman(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("given")
    script = "test -t 1 && cat /opt/in && cat /proc/self/status"
    options = {
        "user": "0:0",
        "allocateTty": True,
        "capabilities": ["NET_ADMIN"],
        "bindMounts": [f"{tmp_path}:/opt:ro"],
    }
    # CAP_NET_ADMIN is bit 12, so the fourth digit from the right is odd.
    status = "given(?s).*CapEff:\t[0-9a-f]{12}[13579bdf][0-9a-f]{3}\r"
    test = command(script, expectedOutput=[status])
    assert run({"commandTests": [test], "containerRunOptions": options}) == []
    plain = command("cat /proc/self/status", excludedOutput=["CapEff:\t000001"])
    assert run({"commandTests": [plain]}) == []
    # Not tried here: a privileged container wants a /sys of its own, which a sandbox may not give.
    assert _flags(Options(privileged=True))[-1] == "--privileged"


def test_an_image_can_be_named_as_the_engine_knows_it_and_no_container_is_left(
    run: Run, podman: str
) -> None:
    def ask(*arguments: str) -> str:
        line = [podman, *arguments]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=60).stdout

    (name,) = ask("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert name.startswith("structure-test.local/image:")
    assert run({"commandTests": [command("true")]}, name=name) == []
    assert ask("ps", "--all", "--quiet") == ""


def test_without_an_engine_the_error_has_the_reason_of_each(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2; exit 1\n")
    docker.chmod(0o755)
    with pytest.raises(ContainerError) as caught:
        choose_engine({"PATH": str(tmp_path)})
    assert str(caught.value) == (
        f"driver 'docker' needs Docker or Podman ({docker}: Cannot connect to the Docker daemon; "
        "podman: not found); start one or set DOCKER_HOST, or leave `driver` out to need neither. "
        "(Tests started by `tools/bazelw test` do not see this machine's programs; "
        "`tools/bazelw run //tools/structure_test` does.)"
    )
    # The first that answers is taken, so a Docker without its daemon does not stand in the way.
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\n")
    podman.chmod(0o755)
    assert choose_engine({"PATH": str(tmp_path)}) == str(podman)
