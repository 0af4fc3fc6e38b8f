"""Damaged input, from Hypothesis: the same for the same seed, and shrunk when something fails."""

import re
from collections.abc import Sequence

from hypothesis import strategies as st

_NUMBER = re.compile(rb"[0-9]+")
_PIECES = (
    *(b"", b"\0", b"\r\n", b"\r\n\r\n", b"\n", b" ", b"\t", b",", b";", b"=", b'"', b"\\", b"-"),
    *(b"%00", b"%0d%0a", b"../", b"/", b"\xff", b"\xc3\xa9", b"\xf0\x9f\x8e\xa5", b"a" * 9000),
    *(b"0", b"-1", b"9" * 19, b"9" * 5000, b"1e9", b"0x1", b"\xb2", b"*", b"null", b"true"),
)
_WORDS = (0, 1, 0x7F, 0xFF, 1 << 15, (1 << 31) - 1, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)


@st.composite
def damaged(draw: st.DrawFn, *valid: bytes, most: int = 4) -> bytes:
    """Return a strategy for the bytes in `valid`, damaged in up to `most` places."""
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(
            st.sampled_from(["flip", "cut", "remove", "repeat", "insert", "word", "number"])
        )
        if change == "flip":
            data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
        elif change == "cut":
            data = data[:at]
        elif change in ("remove", "repeat"):
            end = at + draw(st.sampled_from([1, 4, 16, 188, 500]))
            times = 0 if change == "remove" else draw(st.sampled_from([2, 3, 100]))
            data = data[:at] + data[at:end] * times + data[end:]
        elif change == "insert":
            data = data[:at] + draw(st.sampled_from(_PIECES)) + data[at:]
        elif change == "word":
            width = draw(st.sampled_from([1, 2, 4, 8]))
            word = draw(st.sampled_from(_WORDS)) % (1 << 8 * width)
            data = data[:at] + word.to_bytes(width, "big") + data[at + width :]
        else:
            data = _with_number(draw, data)
    return data


def _with_number(draw: st.DrawFn, data: bytes) -> bytes:
    found: Sequence[tuple[int, int]] = [match.span() for match in _NUMBER.finditer(data)]
    if not found:
        return data
    start, end = draw(st.sampled_from(found))
    return data[:start] + draw(st.sampled_from(_PIECES)) + data[end:]
