"""Format results: text and JSON like upstream's, JUnit XML for Bazel."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_OUTPUT = 1 << 16  # Characters of a command's output that a report repeats.
SUITE = "container-structure-test.test"
# Characters that XML 1.0 forbids; a command may print any of them.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


# Colours of a terminal (ECMA-48, SGR).
_RED, _GREEN, _YELLOW = 31, 32, 33


@dataclass(frozen=True)
class Result:
    """One test that ran. `name` starts with its kind; `seconds` is its duration."""

    name: str
    errors: tuple[str, ...]
    seconds: float
    stdout: str = ""
    stderr: str = ""

    @property
    def passed(self) -> bool:
        """Whether there were no errors."""
        return not self.errors


def banner(file: str) -> str:
    """Return the heading of a configuration's results."""
    line = f"====== Test file: {Path(file).name} ======"
    rule = "=" * len(line)
    return f"\n{rule}\n{line}\n{rule}"


def text(result: Result, *, colour: bool = False) -> str:
    """Return one result as lines of text."""
    lines = [
        f"=== RUN: {result.name}",
        _paint("--- PASS", _GREEN, colour) if result.passed else _paint("--- FAIL", _RED, colour),
        f"duration: {_duration(result.seconds)}",
    ]
    if result.stdout and not result.passed:
        lines.append(f"stdout: {_shorten(result.stdout).rstrip()}")
    if result.stderr and not result.passed:
        lines.append(f"stderr: {_shorten(result.stderr).rstrip()}")
    lines += [_paint(f"Error: {error}", _YELLOW, colour) for error in result.errors]
    return "\n".join(lines) + "\n"


def summary(results: Sequence[Result], *, colour: bool = False) -> str:
    """Return the last lines of the text report."""
    passed = sum(result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    good = bool(results) and passed == len(results)
    return (
        "=====================\n"
        "====== RESULTS ======\n"
        "=====================\n"
        f"Passes:      {passed}\n"
        f"Failures:    {len(results) - passed}\n"
        f"Duration:    {_duration(seconds)}\n"
        f"Total tests: {len(results)}\n\n"
        f"{_paint('PASS', _GREEN, colour) if good else _paint('FAIL', _RED, colour)}"
    )


def _paint(words: str, code: int, colour: bool) -> str:  # noqa: FBT001 - always the last of three
    return f"\x1b[{code}m{words}\x1b[0m" if colour else words


def as_json(results: Sequence[Result]) -> str:
    """Return upstream's JSON; durations are integer nanoseconds, as Go prints them."""
    passed = sum(result.passed for result in results)

    def nanoseconds(seconds: float) -> int:
        return round(seconds * 1e9)

    def entry(result: Result) -> dict[str, object]:
        # Empty fields are left out, as upstream does.
        optional = {
            "Stdout": _shorten(result.stdout),
            "Stderr": _shorten(result.stderr),
            "Errors": [*result.errors],
        }
        return {
            "Name": result.name,
            "Pass": result.passed,
            **{key: value for key, value in optional.items() if value},
            "Duration": nanoseconds(result.seconds),
        }

    return json.dumps(
        {
            "Pass": passed,
            "Fail": len(results) - passed,
            "Total": len(results),
            "Duration": nanoseconds(sum(result.seconds for result in results)),
            "Results": [entry(result) for result in results],
        }
    )


def as_junit(results: Sequence[Result], *, suite: str = SUITE) -> bytes:
    """Return JUnit XML with one suite of the given name."""
    seconds = f"{sum(result.seconds for result in results):.3f}"
    failures = str(sum(not result.passed for result in results))
    counts = {"tests": str(len(results)), "failures": failures, "time": seconds}
    root = ET.Element("testsuites", counts)
    parent = ET.SubElement(root, "testsuite", {"name": suite, **counts})
    for result in results:
        case = ET.SubElement(
            parent,
            "testcase",
            {
                "name": _clean(result.name),
                "classname": suite,
                "time": f"{result.seconds:.3f}",
            },
        )
        for error in result.errors:
            ET.SubElement(case, "failure", {"message": _clean(error)}).text = _clean(error)
        for tag, output in (("system-out", result.stdout), ("system-err", result.stderr)):
            if output:
                ET.SubElement(case, tag).text = _clean(_shorten(output))
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _shorten(output: str) -> str:
    """Return the beginning and the end of a long output."""
    if len(output) <= MAX_OUTPUT:
        return output
    half, left_out = MAX_OUTPUT // 2, len(output) - MAX_OUTPUT
    return f"{output[:half]}\n... {left_out} characters left out ...\n{output[-half:]}"


def _clean(value: str) -> str:
    return _NOT_XML.sub("\ufffd", value)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.1f}ms" if seconds < 1 else f"{seconds:.2f}s"
