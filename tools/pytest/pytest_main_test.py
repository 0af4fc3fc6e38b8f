"""The runner behind `pytest_test`, started as Bazel starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tools.pytest import pytest_main

_TESTS = (
    "def test_one():\n    pass\n\n\ndef test_two():\n    pass\n\n\ndef test_three():\n    pass\n"
)


class _Runner:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.report = directory / "report.xml"

    def run(self, *, tests: str, **variables: str) -> int:
        (self._directory / "it_test.py").write_text(tests, encoding="utf-8")
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TEST", "XML_"))
        }
        environment |= {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "XML_OUTPUT_FILE": str(self.report),
        }
        done = subprocess.run(
            [sys.executable, str(pytest_main.__file__), "it_test.py"],
            cwd=self._directory,
            env={**environment, **variables},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode

    def names(self) -> list[str]:
        return [case.attrib["name"] for case in ET.parse(self.report).iter("testcase")]


@pytest.fixture
def runner(tmp_path: Path) -> _Runner:
    return _Runner(tmp_path)


def test_every_test_runs_and_is_reported(runner: _Runner) -> None:
    assert runner.run(tests=_TESTS) == 0
    assert runner.names() == ["test_one", "test_two", "test_three"]


@pytest.mark.parametrize(
    "tests", ["def test_it():\n    assert False\n", "import nowhere\n", "x = 1\n"]
)
def test_a_failure_a_broken_file_and_no_test_at_all_fail(runner: _Runner, tests: str) -> None:
    assert runner.run(tests=tests) != 0


@pytest.mark.parametrize("wanted", ["two", "it_test.py::test_two"])
def test_bazels_test_filter_chooses_tests(runner: _Runner, wanted: str) -> None:
    assert runner.run(tests=_TESTS, TESTBRIDGE_TEST_ONLY=wanted) == 0
    assert runner.names() == ["test_two"]


def test_a_filter_that_matches_nothing_fails(runner: _Runner) -> None:
    assert runner.run(tests=_TESTS, TESTBRIDGE_TEST_ONLY="absent") != 0


def test_shards_together_run_every_test_once(runner: _Runner, tmp_path: Path) -> None:
    names = []
    for index in range(4):
        status = tmp_path / f"shard{index}"
        code = runner.run(
            tests=_TESTS,
            TEST_TOTAL_SHARDS="4",
            TEST_SHARD_INDEX=str(index),
            TEST_SHARD_STATUS_FILE=str(status),
        )
        assert code == 0
        assert status.exists()
        names += runner.names()
    assert sorted(names) == ["test_one", "test_three", "test_two"]


def test_a_shard_of_no_tests_at_all_fails(runner: _Runner) -> None:
    assert runner.run(tests="x = 1\n", TEST_TOTAL_SHARDS="2", TEST_SHARD_INDEX="1") != 0


def test_modules_beside_the_runner_do_not_hide_others(runner: _Runner) -> None:
    tests = (
        "from importlib.util import find_spec\n\n\n"
        "def test_it():\n    assert find_spec('pytest_in_image') is None\n"
    )
    assert (Path(pytest_main.__file__).parent / "pytest_in_image.py").is_file()
    assert runner.run(tests=tests) == 0


def test_plugins_of_libraries_are_loaded(runner: _Runner, tmp_path: Path) -> None:
    (tmp_path / "its_plugin.py").write_text(
        "import pytest\n\n\n@pytest.fixture\ndef answer():\n    return 42\n", encoding="utf-8"
    )
    information = tmp_path / "it-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: it\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text("[pytest11]\nit = its_plugin\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    tests = "def test_it(answer):\n    assert answer == 42\n"
    assert runner.run(tests=tests, PYTHONPATH=path) == 0
