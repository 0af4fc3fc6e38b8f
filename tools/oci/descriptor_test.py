"""What the descriptor of a layer says, checked against digests computed here."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.oci import descriptor
from tools.oci.descriptor import DescriptorError, describe_layer, read_descriptor

# Larger than one read of the tool, and incompressible, so that chunks cross its borders.
_NOISE = random.Random(7).randbytes(3 << 20)
TAR = make.tar_bytes({"noise": _NOISE, "zeros": bytes(1 << 20)})


def _write(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "layer.bin"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(
    ("data", "compression"),
    [
        (TAR, "none"),
        (gzip.compress(TAR, mtime=0), "gzip"),
        (gzip.compress(TAR[:1000000], mtime=0) + gzip.compress(TAR[1000000:], mtime=0), "gzip"),
    ],
    ids=["plain", "gzip", "two gzip members"],
)
def test_a_layer_is_described_by_its_bytes(tmp_path: Path, data: bytes, compression: str) -> None:
    found = describe_layer(_write(tmp_path, data))
    assert found.compression == compression
    assert found.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert found.diff_id == "sha256:" + hashlib.sha256(TAR).hexdigest()
    assert found.size == len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello", "ends in the middle of a header"),
        (TAR[:100_000], "ends in the middle of a member"),
        (gzip.compress(TAR) + bytes(100), "gzip data is followed by zeros, which engines refuse"),
        (gzip.compress(TAR)[:-100], "gzip data ends before its end mark; the file is cut short"),
        (gzip.compress(TAR) + b"x" * 600, "gzip data is corrupt"),
        (gzip.compress(TAR)[:5000] + b"\xff" * 600, "gzip data (is corrupt|ends)"),
    ],
)
def test_a_broken_layer_is_refused_with_its_name(tmp_path: Path, data: bytes, message: str) -> None:
    file = _write(tmp_path, data)
    with pytest.raises(DescriptorError, match=message) as error:
        describe_layer(file)
    assert str(error.value).startswith(str(file))


def _tar_of(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    first = tarfile.TarInfo("first").tobuf(tarfile.USTAR_FORMAT)
    return first + member.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_tar_of("/etc/passwd"), "member '/etc/passwd' has an absolute name"),
        (_tar_of("a/../../b"), "member 'a/../../b' climbs out with '..'"),
        (_tar_of("a", tarfile.LNKTYPE, "../b"), "member '../b' climbs out with '..'"),
        (_tar_of("a", tarfile.LNKTYPE, "/b"), "member '/b' has an absolute name"),
        (_tar_of("a", b"S"), "has the unsupported type b'S'"),
        (_tar_of("a")[:-1100], "the tar archive ends in the middle of a header"),
        (_tar_of("a")[:-100], "the tar archive ends in the middle of its end mark"),
        (_tar_of("a")[:-1536] + b"x" * 512 + bytes(1024), "(wrong checksum|not octal)"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_hostile_or_damaged_tar_is_refused_with_its_name(
    tmp_path: Path, data: bytes, message: str, pack: Callable[[bytes], bytes]
) -> None:
    file = _write(tmp_path, pack(data))
    with pytest.raises(DescriptorError, match=message) as error:
        describe_layer(file)
    assert str(error.value).startswith(str(file))


def test_valid_members_are_accepted(tmp_path: Path) -> None:
    for data in (_tar_of("./a..b/..c"), _tar_of("a", tarfile.SYMTYPE, "../../b"), bytes(1024)):
        assert describe_layer(_write(tmp_path, data)).compression == "none"


@pytest.mark.parametrize(
    "data",
    [b"", _tar_of("a")[:-1024], _tar_of("a")[:-512], make.tar_bytes({"f": b"x" * 700})[:1212]],
    ids=["empty", "no end mark", "half an end mark", "no padding"],
)
@pytest.mark.parametrize("pack", [bytes, partial(gzip.compress, mtime=0)])
def test_an_archive_may_end_at_any_member(
    tmp_path: Path, data: bytes, pack: Callable[[bytes], bytes]
) -> None:
    found = describe_layer(_write(tmp_path, pack(data)))
    assert found.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert found.digest == "sha256:" + hashlib.sha256(pack(data)).hexdigest()


def test_a_small_file_of_many_zeros_takes_little_memory(tmp_path: Path) -> None:
    size = 400 << 20
    header = tarfile.TarInfo("disk.img")
    header.size = size
    file = tmp_path / "layer.tar.gz"
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(header.tobuf())
        for _ in range(size >> 20):
            stream.write(bytes(1 << 20))
    arguments = ["--label", "//x:y", "--layer", str(file), "--output", str(tmp_path / "out.json")]
    code = (
        "from tools.oci import descriptor; assert descriptor.main() == 0; "
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert int(done.stdout) < 150 << 10  # KiB


def test_the_tool_writes_what_the_image_tool_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = _write(tmp_path, TAR), tmp_path / "out.json"
    arguments = ["--label", "//x:y", "--layer", str(file), "--output", str(output)]
    assert descriptor.main(arguments) == 0
    assert read_descriptor(output) == describe_layer(file)
    assert json.loads(output.read_bytes())["size"] == len(TAR)
    file.write_bytes(b"no tar")
    assert descriptor.main(arguments) == 1
    assert capsys.readouterr().err.startswith(f"oci_descriptor: //x:y: {file}: the tar ")


@pytest.mark.parametrize("text", ["", "[]", '{"compression": "gzip"}'])
def test_an_invalid_descriptor_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "layer.json"
    file.write_text(text)
    with pytest.raises(DescriptorError, match=f"{file}: is not a layer descriptor"):
        read_descriptor(file)


def test_a_zstd_layer_without_its_package_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None makes Python's import machinery say that there is no such module.
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        DescriptorError, match="the Python module 'zstandard' is missing; install it"
    ):
        describe_layer(_write(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(100)))
