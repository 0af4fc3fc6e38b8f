"""The compressor's output is valid, and the same for any number of threads and sizes of writes."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import random
import threading
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.archive import compress
from tools.archive.compress import METHODS, Compressor, method_of
from tools.cli import ToolError

BLOCK = METHODS["gzip"].block_size


@functools.cache
def _tile() -> bytes:
    """Half repetitive text, half noise: both compressible and stored blocks come up."""
    source = random.Random(1)
    words = [source.randbytes(source.randrange(2, 9)) for _ in range(300)]
    out = bytearray()
    while len(out) < 777_777:
        if source.random() < 0.02:
            out += source.randbytes(source.randrange(20_000))
        out += b" ".join(source.choices(words, k=400))
    return bytes(out)


def _sample(size: int) -> bytes:
    return (_tile() * (size // len(_tile()) + 1))[:size]


def _compress(
    data: bytes, *, method: str = "gzip", jobs: int, piece: int, level: int | None = None
) -> tuple[bytes, Compressor]:
    sink = io.BytesIO()
    with Compressor(sink, method=method, jobs=jobs, level=level) as packed:
        for start in range(0, len(data), piece):
            packed.write(data[start : start + piece])
    return sink.getvalue(), packed


def _unpack(data: bytes, method: str) -> bytes:
    if method == "gzip":
        return gzip.decompress(data)
    if method == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            return stream.read()
    return data


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("blocks", "more"), [(0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (2, 999)])
def test_threads_and_write_sizes_change_no_byte(method: str, blocks: int, more: int) -> None:
    size = blocks * METHODS[method].block_size + more
    data = _sample(size)
    results = {
        _compress(data, method=method, jobs=jobs, piece=piece)[0]
        for jobs, piece in [(1, size + 1), (3, 777_777)]
    }
    assert len(results) == 1
    assert _unpack(results.pop(), method) == data


@given(
    data=st.binary(max_size=4 * BLOCK // 1024).map(lambda seed: seed * 1024),
    method=st.sampled_from(sorted(METHODS)),
    pieces=st.lists(st.integers(min_value=1, max_value=2 * BLOCK), min_size=2, max_size=2),
    jobs=st.lists(st.integers(min_value=1, max_value=5), min_size=2, max_size=2),
)
@settings(max_examples=25, deadline=None)
def test_any_bytes_round_trip_and_compress_identically(
    data: bytes, method: str, pieces: list[int], jobs: list[int]
) -> None:
    first, second = (
        _compress(data, method=method, jobs=job, piece=piece)[0]
        for job, piece in zip(jobs, pieces, strict=True)
    )
    assert first == second
    assert _unpack(first, method) == data


def test_gzip_members_contain_no_time_name_or_system() -> None:
    packed, _ = _compress(_sample(2 * BLOCK + 1), jobs=2, piece=50_000)
    members = 0
    while packed:
        assert packed[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
        assert packed[9] == 255
        member = zlib.decompressobj(wbits=31)
        member.decompress(packed)
        assert member.eof
        packed = member.unused_data
        members += 1
    assert members == 3


@pytest.mark.parametrize(
    ("method", "level", "digest"),
    [
        # The defaults: another default level changes every digest of every image.
        ("gzip", None, "8e0d9daf0633ea69"),
        ("zstd", None, "903792ad9511c8f1"),
        ("gzip", 1, "1ba381679bf57150"),
        ("gzip", 6, "8e0d9daf0633ea69"),
        ("gzip", 12, "a5a60db2c05db85f"),
        ("zstd", 9, "903792ad9511c8f1"),
    ],
)
def test_bytes_are_the_same_on_every_machine(method: str, level: int | None, digest: str) -> None:
    # Recorded once. An upgrade of a library may change them, and with them every image's digest;
    # a processor must not.
    packed, _ = _compress(_sample(BLOCK + 99), method=method, level=level, jobs=2, piece=50_000)
    assert hashlib.sha256(packed).hexdigest()[:16] == digest


def test_digests_and_size_are_those_of_the_streams() -> None:
    data = _sample(BLOCK + 99)
    packed, writer = _compress(data, jobs=2, piece=10_000)
    assert writer.raw_sha256 == hashlib.sha256(data).hexdigest()
    assert writer.packed_sha256 == hashlib.sha256(packed).hexdigest()
    assert writer.packed_size == len(packed)


def test_size_is_close_to_plain_gzip() -> None:
    data = _sample(4 * BLOCK)
    packed, _ = _compress(data, jobs=2, piece=len(data))
    assert len(packed) < 1.02 * len(zlib.compress(data, 6))


def test_a_higher_level_is_smaller() -> None:
    data = _sample(BLOCK)
    for method, low, high in (("gzip", 1, 9), ("zstd", 1, 12)):
        sizes = [
            len(_compress(data, method=method, jobs=1, piece=BLOCK, level=level)[0])
            for level in (low, high)
        ]
        assert sizes[1] < sizes[0]


@pytest.mark.parametrize(
    ("method", "level", "message"),
    [
        ("bzip2", None, "unknown compression 'bzip2'; known: gzip, zstd, none"),
        ("gzip", 13, "gzip has no level 13, only 1 to 12"),
        ("zstd", 0, "zstd has no level 0, only 1 to 22"),
        ("none", 1, "none has no level 1, only 0 to 0"),
    ],
)
def test_unknown_methods_and_levels_are_refused(
    method: str, level: int | None, message: str
) -> None:
    with pytest.raises(ToolError, match=message):
        Compressor(io.BytesIO(), method=method, level=level)


def test_extension_selects_the_method() -> None:
    names = {"a.tar.gz": "gzip", "a.tar.zst": "zstd", "a.gz.tar": "none"}
    assert {name: method_of(name) for name in names} == names
    with pytest.raises(ToolError, match=r"a\.zip: the extension must be one of \.tar\.gz"):
        method_of("a.zip")


def test_a_failed_write_is_raised_and_leaves_no_thread_behind() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    before = threading.active_count()
    with pytest.raises(OSError, match="No space left"):
        _fill(Full())
    with pytest.raises(ValueError, match="of the caller"):
        _fail_amid(io.BytesIO())
    assert threading.active_count() == before


def _fill(sink: io.BytesIO) -> None:
    with Compressor(sink, jobs=2) as packed:
        for _ in range(8):
            packed.write(_sample(BLOCK))


def _fail_amid(sink: io.BytesIO) -> None:
    with Compressor(sink, jobs=2) as packed:
        packed.write(_sample(5 * BLOCK))
        raise ValueError("of the caller")


def test_available_cores_are_at_least_one() -> None:
    assert compress.available_cores() >= 1
