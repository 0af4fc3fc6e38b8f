"""Run pytest on the files of one `pytest_test`; its exit code is the test's result.

    pytest_main.py [pytest's own flags] tools/wheels/lock_test.py …

Follows Bazel's test protocol ("Test Encyclopedia"): JUnit XML to XML_OUTPUT_FILE, scratch files
below TEST_TMPDIR, TESTBRIDGE_TEST_ONLY (`--test_filter`: a pytest -k expression or, with "::", a
test's id) and sharding. A run that collects no test fails; a shard may be empty if others are not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

import pytest

_NO_TESTS = pytest.ExitCode.NO_TESTS_COLLECTED


class _Shard:
    """Keeps every n-th of the filtered tests, and counts them all."""

    def __init__(self, index: int, total: int) -> None:
        self._index = index
        self._total = total
        self.collected = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        self.collected = len(items)
        mine = items[self._index :: self._total]
        config.hook.pytest_deselected(items=[item for item in items if item not in mine])
        items[:] = mine


def _shard() -> _Shard:
    status_file = os.environ.get("TEST_SHARD_STATUS_FILE")
    if status_file:
        Path(status_file).touch()  # Tells Bazel that this runner supports sharding.
    return _Shard(
        int(os.environ.get("TEST_SHARD_INDEX", "0")), int(os.environ.get("TEST_TOTAL_SHARDS", "1"))
    )


def _flags(arguments: list[str]) -> list[str]:
    flags = [
        "--import-mode=importlib",
        "--rootdir=.",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
        "-ra",
        # By name: autoload would also rewrite the assertions of all that is installed beside a
        # plugin, which takes a second for hypothesis.
        "--disable-plugin-autoload",
        *(f"-p{plugin.name}" for plugin in importlib.metadata.entry_points(group="pytest11")),
    ]
    if importlib.util.find_spec("hypothesis"):
        # Its profile for such runs: no deadline, which a busy machine would miss, and no chance.
        flags.append("--hypothesis-profile=ci")
    report = os.environ.get("XML_OUTPUT_FILE")
    if report:
        flags.append(f"--junitxml={report}")
    scratch = os.environ.get("TEST_TMPDIR")
    if scratch:
        flags.append(f"--basetemp={scratch}/pytest")
    only = os.environ.get("TESTBRIDGE_TEST_ONLY", "")
    if "::" in only:
        wanted_file = only.partition("::")[0]
        return [*flags, *(only if name.endswith(wanted_file) else name for name in arguments)]
    return [*flags, "-k", only, *arguments] if only else [*flags, *arguments]


def main(argv: list[str] | None = None) -> int:
    """Run the tests; return pytest's exit code, 0 when all passed."""
    arguments = sys.argv[1:] if argv is None else argv
    # The directory of this file is not an import root: its modules would hide others of their name.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if entry and str(Path(entry).resolve()) != here]
    shard = _shard()
    code = int(pytest.main(_flags(arguments), plugins=[shard]))
    if code == _NO_TESTS and shard.collected:
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
