"""Layers compressed with zstd; apart from the other tests because only these need zstandard."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import zstandard

from tools.image import layouts_for_test as make
from tools.oci.descriptor import DescriptorError, describe_layer

TAR = make.tar_bytes({"noise": random.Random(7).randbytes(3 << 20), "zeros": bytes(1 << 20)})


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


@pytest.mark.parametrize(
    "data", [_zstd(TAR), _zstd(TAR[:1000000]) + _zstd(TAR[1000000:])], ids=["one", "two frames"]
)
def test_a_zstd_layer_is_described(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "layer.bin"
    file.write_bytes(data)
    found = describe_layer(file)
    assert (found.compression, found.size) == ("zstd", len(data))
    assert found.digest == make.digest_of(data)
    assert found.diff_id == make.digest_of(TAR)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_zstd(TAR)[:-100], "zstd data ends before its end mark"),
        (_zstd(TAR) + b"x" * 100, "zstd data is corrupt"),
    ],
)
def test_a_broken_zstd_layer_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "layer.bin"
    file.write_bytes(data)
    with pytest.raises(DescriptorError, match=message):
        describe_layer(file)
