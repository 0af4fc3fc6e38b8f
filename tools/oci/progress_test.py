"""What is shown of an upload on a terminal and elsewhere."""

from __future__ import annotations

import io
import time

import pytest

from tools.oci.progress import Progress, size_text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_there_are_plain_lines_only() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.expect(blobs=1, size=100)
    progress.advance("a", 100)
    progress.note("hello")
    progress.finish("a", "uploaded")
    progress.close()
    assert stream.getvalue() == "hello\na: uploaded\n"


def test_a_terminal_has_one_line_that_changes_and_goes_away() -> None:
    stream = _Terminal()
    progress = Progress(stream)
    progress.expect(blobs=2, size=4_000_000)
    time.sleep(0.11)
    progress.advance("sha256:abc", 1_000_000)
    assert "0/2 blobs, 1.0 MB of 4.0 MB, " in stream.getvalue()
    assert stream.getvalue().endswith("sha256:abc")
    progress.finish("sha256:abc", "uploaded")
    assert "1/2 blobs" in stream.getvalue()
    progress.close()
    assert stream.getvalue().endswith("\r\x1b[K")


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
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert size_text(size) == text
