"""The compressor's output is one valid gzip member, the same for any number of threads."""

import gzip
import hashlib
import io
import random
import threading
import zlib

import pytest

from tools.archive import gzip_blocks
from tools.archive.gzip_blocks import BLOCK_SIZE, BlockGzip


def _sample(size: int) -> bytes:
    """Half repetitive text, half noise: both compressible and stored blocks come up."""
    source = random.Random(size)
    words = [source.randbytes(source.randrange(2, 9)) for _ in range(300)]
    out = bytearray()
    while len(out) < size:
        if source.random() < 0.02:
            out += source.randbytes(source.randrange(20_000))
        out += b" ".join(source.choices(words, k=400))
    return bytes(out[:size])


def _compress(data: bytes, *, jobs: int, piece: int) -> tuple[bytes, BlockGzip]:
    sink = io.BytesIO()
    with BlockGzip(sink, jobs=jobs) as packed:
        for start in range(0, len(data), piece):
            packed.write(data[start : start + piece])
    return sink.getvalue(), packed


@pytest.mark.parametrize(
    "size", [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE + 12345]
)
def test_threads_and_write_sizes_change_no_byte(size: int) -> None:
    data = _sample(size)
    results = {
        _compress(data, jobs=jobs, piece=piece)[0]
        for jobs, piece in [(1, size + 1), (2, 4096), (3, 1_000_003), (4, 77_777)]
    }
    assert len(results) == 1
    assert gzip.decompress(results.pop()) == data


def test_it_is_one_member_without_a_clock_or_a_system() -> None:
    packed, _ = _compress(_sample(2 * BLOCK_SIZE), jobs=2, piece=50_000)
    assert packed[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    member = zlib.decompressobj(wbits=31)
    member.decompress(packed)
    assert member.eof
    assert member.unused_data == b""


def test_digests_and_size_are_those_of_the_streams() -> None:
    data = _sample(BLOCK_SIZE + 99)
    packed, writer = _compress(data, jobs=2, piece=10_000)
    assert writer.raw_sha256 == hashlib.sha256(data).hexdigest()
    assert writer.packed_sha256 == hashlib.sha256(packed).hexdigest()
    assert writer.packed_size == len(packed)


def test_blocks_see_what_came_before_them() -> None:
    # Noise repeated within the 32 KiB window: only matches into the block before compress it.
    noise = random.Random(1).randbytes(16_000)
    data = noise * (2 * BLOCK_SIZE // len(noise))
    packed, _ = _compress(data, jobs=2, piece=len(data))
    assert len(packed) < 1.5 * len(zlib.compress(data, 6))


def test_it_packs_about_as_well_as_plain_gzip() -> None:
    data = _sample(4 * BLOCK_SIZE)
    packed, _ = _compress(data, jobs=2, piece=len(data))
    assert len(packed) < 1.01 * len(zlib.compress(data, 6))


def test_a_failed_write_is_raised_and_leaves_no_thread_behind() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        BlockGzip(Full(), jobs=2)
    before = threading.active_count()
    with pytest.raises(ValueError, match="of the caller"):
        _fail_amid(io.BytesIO())
    assert threading.active_count() == before


def _fail_amid(sink: io.BytesIO) -> None:
    with BlockGzip(sink, jobs=2) as packed:
        packed.write(_sample(5 * BLOCK_SIZE))
        raise ValueError("of the caller")


def test_cores_are_those_the_process_may_use() -> None:
    assert gzip_blocks.available_cores() >= 1
