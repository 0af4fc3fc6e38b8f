r"""Valid inputs → strategies for damaged ones, which reach deeper into a reader than random bytes.

    damaged(tar_bytes, other_tar_bytes)     # bytes flipped, cut, repeated, spliced, counts replaced
    damaged_text("Package: a\n")            # the same by lines, with what is special in text
    damaged_json({"layers": []})            # a document with members replaced, renamed, missing

Every value comes from Hypothesis, so that a failure is shrunk and a seed repeats it.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

# An input may grow by repetition up to this size: enough for a header a thousand times.
MAX_SIZE = 2 << 20
_REPEATS = st.sampled_from([2, 3, 50, 1500])
_NUMBER = re.compile(rb"[0-9]+")
_NUMBERS = (0, 1, -1, 7, 8, 127, 255, 256, 65535, 1 << 31, (1 << 32) - 1, 1 << 63, (1 << 64) - 1)
_DIGITS = (
    b"",
    b"0",
    b"-1",
    b"+1",
    b"1_0",
    b"1e9",
    b"\xd9\xa3",
    b"9" * 19,
    b"9" * 5000,
    b"0x1",
    b" 1",
)
_SPECIAL = (
    *("", "\0", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\ufeff", "\ud800", "\t", " ", "\n\n"),
    *("..", "../", "/", "//", "%00", "%2e%2e", ":", ",", "=", '"', "\\", "#", "(", ")", "[", "é"),
    *("a" * 300, "a" * 70000, "٣", "²", "K", "-", "*", "$", "{}", "${x}"),
)
_JSON_TEXT = (b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"1e999", b"9" * 5000, b"\xff", b"null")
# What stands in for a member of a JSON document.
SURPRISES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 1 << 63, 1 << 64, float("inf"), float("nan"), -(1 << 70)),
    *("", "\0", "\ud800", "é", "a" * 5000, "../../etc/passwd", "/", "\n", "sha256:" + "0" * 64),
    *([], {}, [[]], [None], [{}], {"": None}, {"a": [1]}, ["a", 1]),
)


def damaged(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for the bytes in `valid`, damaged in up to five places, or not at all."""
    return _damaged(valid)


@st.composite
def _damaged(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 5))):
        data = draw(st.sampled_from(_CHANGES))(draw, data, valid)[:MAX_SIZE]
    return data


@st.composite
def damaged_parts(draw: st.DrawFn, *valid: Sequence[bytes]) -> bytes:
    """Return a strategy for parts in a row (headers with their data, members, frames, records).

    They are repeated, missing, moved, mixed and damaged one by one.
    """
    parts = list(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(parts) - 1))
        change = draw(st.sampled_from(["damage", "repeat", "remove", "move", "mix"]))
        if change == "damage":
            parts[at] = draw(_damaged((parts[at],)))
        elif change == "repeat":
            parts[at:at] = [parts[at]] * min(draw(_REPEATS), MAX_SIZE // (len(parts[at]) + 1))
        elif change == "remove" and len(parts) > 1:
            del parts[at]
        elif change == "move":
            parts.insert(draw(st.integers(0, len(parts) - 1)), parts.pop(at))
        else:
            parts.insert(at, draw(st.sampled_from(draw(st.sampled_from(valid)))))
    return b"".join(parts)[:MAX_SIZE]


def _place(draw: st.DrawFn, data: bytes) -> int:
    return draw(st.integers(0, max(0, len(data) - 1)))


def _range(draw: st.DrawFn, data: bytes) -> tuple[int, int]:
    """Return where a piece begins and ends; formats of blocks are often cut at one."""
    start = _place(draw, data)
    start -= start % draw(st.sampled_from([1, 4, 8, 512]))
    return start, start + draw(st.sampled_from([1, 2, 4, 8, 16, 60, 512, 1024]))


def _flip(draw: st.DrawFn, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(draw, data)
    return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]


def _cut(draw: st.DrawFn, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(draw, data)
    return data[: draw(st.sampled_from([at, at % 64, at // 512 * 512]))]


def _remove(draw: st.DrawFn, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(draw, data)
    return data[:start] + data[end:]


def _repeat(draw: st.DrawFn, data: bytes, _: Sequence[bytes]) -> bytes:
    start, end = _range(draw, data)
    return data[:start] + data[start:end] * draw(_REPEATS) + data[end:]


def _splice(draw: st.DrawFn, data: bytes, valid: Sequence[bytes]) -> bytes:
    other = draw(st.sampled_from(valid))
    return data[: _place(draw, data)] + other[_place(draw, other) :]


def _append(draw: st.DrawFn, data: bytes, valid: Sequence[bytes]) -> bytes:
    return data + draw(st.sampled_from([*valid, b"\0", b"\0" * 1024, b"garbage"]))


def _copy(draw: st.DrawFn, data: bytes, valid: Sequence[bytes]) -> bytes:
    """Lay a piece over another place: a header, a name or an offset that belongs elsewhere."""
    start, end = _range(draw, data)
    piece = draw(st.sampled_from(valid))[start:end]
    at = _place(draw, data)
    return data[:at] + piece + data[at + len(piece) :]


def _binary_number(draw: st.DrawFn, data: bytes, _: Sequence[bytes]) -> bytes:
    width = draw(st.sampled_from([1, 2, 4, 8]))
    at = _place(draw, data) // width * width
    number = draw(st.sampled_from([*_NUMBERS, len(data), at, len(data) - at]))
    order = draw(st.sampled_from(["little", "big"]))
    value = (number % (1 << 8 * width)).to_bytes(width, "little" if order == "little" else "big")
    return data[:at] + value + data[at + width :]


def _text_number(draw: st.DrawFn, data: bytes, _: Sequence[bytes]) -> bytes:
    """Replace a run of digits, in place or growing: a size, a length, a version."""
    found = [match.span() for match in _NUMBER.finditer(data)]
    if not found:
        return data
    start, end = draw(st.sampled_from(found))
    text = draw(st.sampled_from(_DIGITS))
    if draw(st.booleans()):
        text = text[: end - start].ljust(end - start)
    return data[:start] + text + data[end:]


_Change = Callable[[st.DrawFn, bytes, Sequence[bytes]], bytes]
_CHANGES: tuple[_Change, ...] = (
    *(_flip, _cut, _remove, _repeat, _splice, _append, _copy, _binary_number, _text_number),
)


@st.composite
def damaged_text(draw: st.DrawFn, *valid: str) -> str:
    """Return a strategy for the texts in `valid`, damaged line by line or not at all."""
    text = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 5))):
        lines = text.split("\n")
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        change = draw(st.sampled_from(["insert", "replace", "remove", "repeat", "move", "number"]))
        if change in ("insert", "replace"):
            column = draw(st.integers(0, len(line)))
            special = draw(st.sampled_from(_SPECIAL) | st.text(max_size=4))
            rest = line[column:] if change == "insert" else line[column + len(special) :]
            lines[at] = line[:column] + special + rest
        elif change == "remove":
            del lines[at]
        elif change == "repeat":
            lines[at:at] = [line] * draw(_REPEATS)
        elif change == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        else:
            changed = _text_number(draw, line.encode("utf-8", "surrogatepass"), ())
            lines[at] = changed.decode("utf-8", "replace")
        text = "\n".join(lines)[:MAX_SIZE]
        lines = lines or [""]
    return text


@st.composite
def damaged_document(draw: st.DrawFn, *valid: Any) -> Any:
    """Return a strategy for the JSON documents in `valid` with up to four members changed."""
    document = copy.deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(0, 4))):
        holders = [each for each in _containers(document) if each]
        if not holders:
            return draw(st.sampled_from(SURPRISES))
        holder = draw(st.sampled_from(holders))
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw(st.sampled_from(keys))
        change = draw(st.sampled_from(["replace", "replace", "remove", "repeat", "rename", "swap"]))
        if change == "replace":
            holder[key] = copy.deepcopy(draw(st.sampled_from(SURPRISES)))
        elif change == "remove":
            del holder[key]
        elif change == "swap":
            other = draw(st.sampled_from(keys))
            holder[key], holder[other] = holder[other], holder[key]
        elif isinstance(holder, list):
            holder += [copy.deepcopy(holder[key]) for _ in range(draw(_REPEATS) % 200)]
        else:
            holder[draw(st.sampled_from(_SPECIAL))] = holder[key]
    return document


@st.composite
def damaged_json(draw: st.DrawFn, *valid: Any) -> bytes:
    """Return a strategy for the bytes of such documents, which may be damaged as well."""
    document = draw(damaged_document(*valid))
    text = json.dumps(document).encode()
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(damaged(text))
    if kind == 1:
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.sampled_from(_JSON_TEXT)) + text[at:]
    return draw(st.sampled_from(_JSON_TEXT)) if kind == 2 else text


def _containers(value: Any) -> list[Any]:
    """Return every list and object in a document, the outermost first."""
    if isinstance(value, dict):
        return [value, *(each for member in value.values() for each in _containers(member))]
    if isinstance(value, list):
        return [value, *(each for member in value for each in _containers(member))]
    return []
