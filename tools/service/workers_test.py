"""The tools of an image as workers: the bytes that they have as programs, whatever came before."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tools.oci import config, descriptor, image, index
from tools.wheels import python_source_layer, wheel_bytecode, wheel_layer
from tools.wheels.wheels_for_test import TinyWheel, write_wheel
from tools.worker_for_test import Worker

# Requests in one process, and by how much it may grow after the first hundred: KiB.
REQUESTS = 1000
GROWTH = 1024


class _Actions:
    """The command lines of a small image, version by version, each of them below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "lock.json").write_text('{"mtime": 1700000000}')
        self.wheel = write_wheel(TinyWheel("ours"), directory=folder)

    def of(self, version: str, out: Path) -> dict[ModuleType, list[str]]:
        """Return tool → arguments, in the order of a build; what they make is below `out`."""
        out.mkdir(exist_ok=True)
        source = self.folder / f"{version}.py"
        source.write_text(f"x = {version!r}\n")
        content = self.folder / f"{version}.json"
        content.write_text(
            json.dumps(
                {
                    "directory": "/app",
                    "empty_directories": {},
                    "files": [[str(source), "main.py"], [__file__, "other.py"]],
                }
            )
        )
        lock, plain = f"--lock={self.folder}/lock.json", f"{out}/plain"
        bytecode, layers = f"{out}/ours.zip", []
        for name in ("app", "wheels"):
            layers += ["--layer", f"//:{name}", f"{out}/{name}.tar.gz", f"{out}/{name}.json"]
        return {
            wheel_bytecode: [f"--wheel={self.wheel}", f"--out={bytecode}"],
            wheel_layer: [
                *(f"--wheel={self.wheel}", f"--bytecode={bytecode}", lock),
                *(f"--out={out}/wheels.tar.gz", f"--descriptor={out}/wheels.json"),
            ],
            python_source_layer: [
                *(f"--content={content}", lock),
                *(f"--out={out}/app.tar.gz", f"--descriptor={out}/app.json"),
            ],
            descriptor: ["--label=//:x", f"--layer={out}/app.tar.gz", f"--output={out}/again.json"],
            image: [
                *("--label=//:image", "--os=linux", "--architecture=amd64", *layers),
                *(f"--output={plain}", f"--digest-output={out}/plain.digest"),
            ],
            config: [
                *("--label=//:image", f"--input={plain}", f"--output={out}/image"),
                *(f"--digest-output={out}/digest", '--healthcheck=["CMD", "a\\nb"]'),
            ],
            index: [
                *("--label=//:index", f"--image={out}/image", f"--output={out}/index"),
                f"--digest-output={out}/index.digest",
            ],
        }


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _program(tool: ModuleType, arguments: list[str]) -> None:
    command = [sys.executable, str(tool.__file__), *arguments]
    subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, check=True)


@pytest.fixture
def worker() -> Iterator[Callable[[ModuleType], Worker]]:
    """Tool → its worker, started when it is first wanted."""
    started: dict[ModuleType, Worker] = {}

    def of(tool: ModuleType) -> Worker:
        if tool not in started:
            started[tool] = Worker(Path(str(tool.__file__)))
        return started[tool]

    yield of
    for each in started.values():
        with contextlib.suppress(ProcessLookupError):
            each.process.kill()
        each.process.communicate()


def test_interleaved_requests_and_failures_give_the_bytes_of_programs(
    tmp_path: Path, worker: Callable[[ModuleType], Worker]
) -> None:
    actions = _Actions(tmp_path)
    out, expected = tmp_path / "out", {}
    for version in ("one", "two"):
        for tool, arguments in actions.of(version, out).items():
            _program(tool, arguments)
        expected[version] = _files(out)
        out.rename(tmp_path / version)
    assert expected["one"] != expected["two"]
    for turn, version in enumerate(("one", "two", "one", "two")):
        for tool, arguments in actions.of(version, out).items():
            failed = worker(tool).ask(*arguments, "--nothing=x")
            assert failed["exitCode"] == 2
            assert "--nothing" in failed["output"]
            reply = worker(tool).ask(*arguments, number=turn)
            assert reply == {"exitCode": 0, "output": "", "requestId": turn}
        assert _files(out) == expected[version]
        out.rename(tmp_path / f"{version} {turn}")


def test_a_source_that_does_not_compile_fails_its_own_request_alone(
    tmp_path: Path, worker: Callable[[ModuleType], Worker]
) -> None:
    actions, out = _Actions(tmp_path), tmp_path / "out"
    arguments = actions.of("one", out)[python_source_layer]
    assert worker(python_source_layer).ask(*arguments)["exitCode"] == 0
    before = _files(out)
    (tmp_path / "one.py").write_text("def f(:\n")
    reply = worker(python_source_layer).ask(*arguments)
    assert reply["exitCode"] == 1
    assert "/app/main.py does not compile" in reply["output"]
    (tmp_path / "one.py").write_text("x = 'one'\n")
    assert worker(python_source_layer).ask(*arguments)["exitCode"] == 0
    assert _files(out) == before


@pytest.mark.parametrize("tool", [python_source_layer, image], ids=["layer", "image"])
def test_memory_stays_flat_over_a_thousand_requests(
    tmp_path: Path, worker: Callable[[ModuleType], Worker], tool: ModuleType
) -> None:
    actions, out = _Actions(tmp_path), tmp_path / "out"
    for first, arguments in actions.of("one", out).items():
        _program(first, arguments)
    requests = [actions.of(version, out)[tool] for version in ("one", "two")]
    links = [path for path in (out / "plain").rglob("*") if tool is image and path.is_symlink()]
    sizes = []
    for number in range(REQUESTS):
        for path in links:  # Bazel makes an output directory anew.
            path.unlink()
        if number % 10 == 3:
            assert worker(tool).ask("--nothing")["exitCode"] == 2
        assert worker(tool).ask(*requests[number % 2])["exitCode"] == 0
        status = Path(f"/proc/{worker(tool).process.pid}/status").read_text()
        sizes.append(int(status.partition("VmRSS:")[2].split()[0]))
    assert max(sizes[-100:]) <= max(sizes[:100]) + GROWTH, (sizes[0], sizes[99], sizes[-1])
