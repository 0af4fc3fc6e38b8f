"""What is shown of an upload on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
import time

import pytest

from tools.registry.progress import Progress, size_text

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_lines_are_plain() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.expect(blobs=1, size=100)
    progress.begin(A, "layer 1/2", 100)
    progress.advance(A, 100)
    progress.note("hello")
    progress.finish(A)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "hello"
    assert re.fullmatch(
        r"layer 1/2 sha256:a{12}: uploaded 100 B in 0\.\d s, [0-9.]+ k?B/s", lines[1]
    )
    assert len(lines) == 2


def test_without_a_terminal_progress_is_printed_at_intervals() -> None:
    stream = io.StringIO()
    progress = Progress(stream, plain_interval=0.05)
    progress.expect(blobs=2, size=4_000_000)
    progress.begin(A, "layer 1/2", 3_000_000)
    progress.begin(B, "layer 2/2", 1_000_000)
    for _ in range(3):
        time.sleep(0.06)
        progress.advance(A, 750_000)
        progress.advance(B, 1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    pattern = r"0/2 blobs, 2\.3 MB of 4\.0 MB, [0-9.]+ MB/s: layer 1/2 75%, layer 2/2 0%"
    assert re.fullmatch(pattern, lines[-1])
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_has_one_updated_line_that_is_removed() -> None:
    stream = _Terminal()
    progress = Progress(stream)
    progress.expect(blobs=2, size=4_000_000)
    progress.begin(A, "layer 1/2", 2_000_000)
    progress.begin(B, "layer 2/2", 2_000_000)
    time.sleep(0.11)
    progress.advance(A, 1_000_000)
    assert "0/2 blobs, 1.0 MB of 4.0 MB, " in stream.getvalue()
    assert stream.getvalue().endswith(": layer 1/2 50%, layer 2/2 0%")
    progress.finish(A)
    assert "\x1b[Klayer 1/2 sha256:aaaaaaaaaaaa: uploaded 2.0 MB in " in stream.getvalue()
    assert "1/2 blobs" in stream.getvalue()
    progress.close()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = _Terminal()
    progress = Progress(stream)
    progress.note("hello")
    progress.close()
    assert stream.getvalue() == "hello\n"


def test_lost_bytes_and_mounted_blobs_are_subtracted() -> None:
    stream = _Terminal()
    progress = Progress(stream)
    progress.expect(blobs=2, size=4_000_000)
    progress.expect_less(3_000_000)
    progress.begin(A, "config", 1_000_000)
    progress.advance(A, 900_000)
    progress.advance(A, -900_000)
    time.sleep(0.11)
    progress.advance(A, 100_000)
    assert "0/1 blobs, 100.0 kB of 1.0 MB, " in stream.getvalue()
    assert stream.getvalue().endswith(": config 10%")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (217_400_000, "217.4 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_have_readable_units(size: int, text: str) -> None:
    assert size_text(size) == text
