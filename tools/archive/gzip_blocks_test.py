"""Blocks are read as by zlib, whoever wrote the file and whatever is wrong with it."""

from __future__ import annotations

import gzip
import io
import random

import deflate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.archive import gzip_blocks
from tools.archive.compress import Compressor
from tools.archive.decompress import DecompressionError
from tools.archive.gzip_blocks import read_blocks

_RANDOM = random.Random(7)
CONTENT = _RANDOM.randbytes(2_500_000) + bytes(3_000_000) + _RANDOM.randbytes(70)
BLOCK = bytes(deflate.gzip_compress(CONTENT[:100], 6))


def packed(content: bytes, *, method: str = "gzip", level: int | None = None) -> bytes:
    buffer = io.BytesIO()
    with Compressor(buffer, method=method, level=level) as stream:
        stream.write(content)
    return buffer.getvalue()


def read(data: bytes) -> bytes:
    return b"".join(read_blocks([data]))


@pytest.mark.parametrize("level", [1, 6, 9, 12])
def test_our_own_files_are_read_without_zlib(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(CONTENT, level=level)
    monkeypatch.setattr(gzip_blocks, "Decompressor", None)
    assert read(data) == CONTENT


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(CONTENT, 1, mtime=0),
        gzip.compress(CONTENT[:100], mtime=5),
        packed(CONTENT[:3_000_000], method="zstd"),
        packed(CONTENT[:3_000_000], method="none"),
        packed(b""),
        # One member that is longer than a block, between ours.
        packed(CONTENT) + bytes(deflate.gzip_compress(CONTENT, 6)) + packed(CONTENT),
        packed(CONTENT) + gzip.compress(b"other", mtime=9) + packed(CONTENT),
        # A header inside of stored data is no block.
        packed(b"x" * 20 + b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + _RANDOM.randbytes(2_000_000)),
    ],
)
def test_files_of_others_are_read_as_by_gzip(data: bytes) -> None:
    own = {b"\x1f\x8b": gzip.decompress}.get(data[:2])
    content = own(data) if own else CONTENT[:3_000_000]
    assert read(data) == content


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(10, 3000))
@settings(max_examples=50, deadline=None)
def test_any_members_in_any_chunks_are_read(contents: list[bytes], size: int) -> None:
    data = b"".join(packed(each) for each in contents)
    chunks = [data[begin : begin + size] for begin in range(0, len(data), size)]
    assert b"".join(read_blocks(chunks)) == b"".join(contents)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (lambda data: data[:-3], "gzip data ends before its end mark"),
        (lambda data: data[: len(data) // 2], "gzip data ends before its end mark"),
        (lambda data: data[:5000] + b"??" + data[5002:], "gzip data is corrupt"),
        (lambda data: data + bytes(512), "followed by zeros"),
        # Garbage that ends as the block before it does, and garbage that makes it end twice.
        (lambda data: data + b"garbage?" + data[-8:], "gzip data is corrupt"),
        (lambda data: BLOCK + b"garbage!" + BLOCK[-8:] + data, "gzip data is corrupt"),
        (lambda data: data[:-8] + data[-8:] * 2, "gzip data is corrupt"),
    ],
)
def test_damage_is_found_as_by_zlib(damage: object, cause: str) -> None:
    assert callable(damage)
    with pytest.raises(DecompressionError, match=cause):
        read(damage(packed(CONTENT)))
