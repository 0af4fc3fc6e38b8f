"""How every tool ends: its exit code, and one line for people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.cli import ToolError, parse_json, read_text, tool


def _failing(error: BaseException) -> int:
    @tool("example")
    def main(_argv: list[str] | None) -> None:
        raise error

    return main([])


def test_success_is_zero_and_a_code_is_passed_on() -> None:
    assert tool("example")(lambda _argv: None)() == 0
    assert tool("example")(lambda _argv: 3)() == 3


@pytest.mark.parametrize(
    "error", [ToolError("lock.json: damaged"), FileNotFoundError(2, "gone", "x")]
)
def test_expected_problems_are_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _failing(error) == 1
    assert capsys.readouterr().err == f"example: {error}\n"


def test_text_keeps_lone_carriage_returns_and_must_be_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"caf\xc3\xa9\r\n\r")
    assert read_text(file) == "caf\u00e9\n\r"
    file.write_bytes(b"caf\xe9")
    with pytest.raises(ToolError, match=f"{file}: is not UTF-8: .*byte 0xe9"):
        read_text(file)


def test_defects_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        _failing(ZeroDivisionError())


def test_an_interrupt_ends_as_in_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert _failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "example: interrupted\n"


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    program = (
        "import sys\nfrom tools.cli import tool\n"
        "@tool('example')\ndef main(_argv=None):\n"
        "    while True: print('x' * 4096, flush=True)\n"
        "sys.exit(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_json_that_is_nested_too_deep_is_no_json() -> None:
    assert parse_json(b'{"a": [1]}') == {"a": [1]}
    with pytest.raises(ValueError, match="it is nested too deep"):
        parse_json("[" * 100_000)


@pytest.mark.parametrize("text", ["[NaN]", "[-Infinity]", "[1e999]"])
def test_number_that_json_cannot_express_is_no_json(text: str) -> None:
    assert parse_json("[1.5e3, 1e308]") == [1500.0, 1e308]
    with pytest.raises(ValueError, match="is not a number of JSON"):
        parse_json(text)
