"""Streams are decompressed to the last byte, in bounded memory, and damage is never let pass."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import sys
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.archive.decompress import CHUNK, DecompressionError, Decompressor, sniff

CONTENT = random.Random(3).randbytes(300_000) + bytes(700_000) + b"the end"


def _zstd(data: bytes, *, checksum: bool = False, sized: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(
        level=3, write_checksum=checksum, write_content_size=sized
    )
    return compressor.compress(data)


COMPRESS = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": _zstd,
    "none": bytes,
}
PACKED = sorted(COMPRESS.keys() - {"none"})


def _chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def _read(chunks: Iterable[bytes], method: str) -> bytes:
    return b"".join(Decompressor(chunks, method))


@pytest.mark.parametrize("method", COMPRESS)
@pytest.mark.parametrize("size", [1, 7, 4096, CHUNK])
def test_content_is_the_same_in_chunks_of_any_size(method: str, size: int) -> None:
    content = CONTENT if size > 7 else CONTENT[299_000:301_000]
    assert _read(_chunks(COMPRESS[method](content), size), method) == content


@pytest.mark.parametrize("method", PACKED)
def test_members_in_a_row_are_one_stream(method: str) -> None:
    parts = (CONTENT[:1000], b"", CONTENT[1000:])
    packed = b"".join(COMPRESS[method](part) for part in parts)
    for size in (13, CHUNK):
        assert _read(_chunks(packed, size), method) == CONTENT


@given(
    parts=st.lists(st.binary(max_size=300).map(lambda seed: seed * 50), max_size=4),
    method=st.sampled_from(sorted(COMPRESS)),
    size=st.integers(min_value=1, max_value=5000),
    counts=st.lists(st.integers(min_value=1, max_value=9000), min_size=1, max_size=9),
)
@settings(max_examples=60, deadline=None)
def test_reads_of_any_size_give_the_content_in_order(
    parts: list[bytes], method: str, size: int, counts: list[int]
) -> None:
    packed = b"".join(COMPRESS[method](part) for part in parts) or COMPRESS[method](b"")
    reader = Decompressor(_chunks(packed, size), method)
    content, number = b"", 0
    while piece := reader.read(counts[number % len(counts)]):
        rest = sum(map(len, parts)) - len(content)
        assert len(piece) == min(counts[number % len(counts)], rest)
        content += piece
        number += 1
    assert content == b"".join(parts)
    assert reader.read(1) == b""
    assert reader.consumed == len(packed)


@pytest.mark.parametrize("method", PACKED)
def test_a_stream_cut_short_anywhere_is_refused(method: str) -> None:
    whole = COMPRESS[method](CONTENT[299_000:302_000])
    for length in range(len(whole)):
        with pytest.raises(
            DecompressionError, match=f"^{method} data ends before its end mark; the file is cut"
        ):
            _read([whole[:length]], method)


@pytest.mark.parametrize("method", PACKED)
def test_damaged_data_is_refused(method: str) -> None:
    packed = bytearray(COMPRESS[method](CONTENT))
    packed[len(packed) // 3] ^= 0xFF
    packed[-20:] = bytes(20)
    with pytest.raises(DecompressionError, match=f"^{method} data (is corrupt: |ends before)"):
        _read(_chunks(bytes(packed), 4096), method)


@pytest.mark.parametrize("method", PACKED)
@pytest.mark.parametrize("garbage", [b"x" * 600, b"x"])
def test_garbage_after_the_end_is_refused(method: str, garbage: bytes) -> None:
    packed = COMPRESS[method](b"content")
    for chunks in ([packed + garbage], [packed, garbage]):
        with pytest.raises(DecompressionError, match=f"^{method} data"):
            _read(chunks, method)


def test_zeros_after_gzip_are_refused_as_by_engines() -> None:
    member = COMPRESS["gzip"](b"content")
    for chunks in (
        [member + bytes(100)],
        [member, bytes(5), bytes(5)],
        [member + bytes(9) + member],
    ):
        with pytest.raises(
            DecompressionError, match="gzip data is followed by zeros, which engines refuse"
        ):
            _read(chunks, "gzip")


@pytest.mark.parametrize("method", PACKED)
def test_no_input_at_all_is_cut_short(method: str) -> None:
    with pytest.raises(DecompressionError, match=f"{method} data ends before its end mark"):
        _read([], method)
    assert _read([], "none") == b""


def _memory_of(packed: bytes, method: str) -> tuple[int, int]:
    """Return the content's size and the most memory that reading it took."""
    reader = Decompressor([packed], method)
    tracemalloc.start()
    try:
        size = 0
        while piece := reader.read(CHUNK):
            size += len(piece)
        return size, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", PACKED)
def test_memory_is_bounded_however_much_a_chunk_unpacks_to(method: str) -> None:
    size, memory = _memory_of(COMPRESS[method](bytes(48 << 20)), method)
    assert size == 48 << 20
    assert memory < 16 << 20


def test_a_zstd_frame_of_nothing_but_runs_does_not_fill_memory() -> None:
    # 4 bytes for each 128 KiB: no compressor writes this, somebody hostile might.
    run = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + run * 2000 + b"\x01\x00\x00"
    size, memory = _memory_of(frame, "zstd")
    assert size == 2000 * (128 << 10)
    assert memory < 16 << 20


@pytest.mark.parametrize("size", [1, 3, 8, CHUNK])
def test_zstd_frames_of_every_kind_are_read(size: int) -> None:
    skippable = b"\x5a\x2a\x4d\x18" + (300).to_bytes(4, "little") + b"#" * 300
    empty_skippable = b"\x50\x2a\x4d\x18" + bytes(4)
    streamed = zstandard.ZstdCompressor(level=1).compressobj()  # knows no size, so has a window
    frames = (
        skippable,
        _zstd(b"sized"),
        empty_skippable,
        _zstd(b", checked", checksum=True),
        streamed.compress(b", streamed") + streamed.flush(),
        _zstd(b", unsized", sized=False),
        _zstd(b""),
        skippable,
    )
    content = b"sized, checked, streamed, unsized"
    assert _read(_chunks(b"".join(frames), size), "zstd") == content
    with pytest.raises(DecompressionError, match="zstd data ends before its end mark"):
        _read(_chunks(b"".join(frames)[:-1], size), "zstd")


def test_a_wrong_checksum_is_refused() -> None:
    packed = bytearray(_zstd(CONTENT, checksum=True))
    packed[-1] ^= 1
    with pytest.raises(DecompressionError, match=r"zstd data is corrupt: .*checksum"):
        _read([bytes(packed)], "zstd")


def test_what_gzip_has_consumed_is_exact() -> None:
    packed = COMPRESS["gzip"](b"first") + COMPRESS["gzip"](CONTENT)
    reader = Decompressor(_chunks(packed, 100), "gzip")
    reader.read(5)
    inflate = zlib.decompressobj(wbits=31)
    inflate.decompress(packed)
    # At most the two trailing words of the member, which its content does not need.
    assert len(packed) - len(inflate.unused_data) - reader.consumed <= 10
    reader.read(100_000)
    assert 100_000 < reader.consumed < 101_000


def test_zstd_without_its_module_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes Python's import machinery say that there is no such module.
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        DecompressionError, match="the Python module 'zstandard' is missing; install it, or"
    ):
        _read([_zstd_bytes()], "zstd")


def _zstd_bytes() -> bytes:
    return b"\x28\xb5\x2f\xfd" + bytes(100)


def test_an_error_of_the_source_stays_what_it_is() -> None:
    def failing() -> Iterator[bytes]:
        yield COMPRESS["bzip2"](CONTENT)[:100]
        raise OSError("disk failure")

    with pytest.raises(OSError, match="disk failure"):
        _read(failing(), "bzip2")


def test_layers_are_told_apart_by_their_first_bytes() -> None:
    for method in ("gzip", "zstd", "none"):
        assert sniff(COMPRESS[method](b"content")) == method
    assert sniff(b"") == "none"
