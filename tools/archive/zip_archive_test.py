import os
import zipfile
from pathlib import Path

import pytest

from tools.archive import zip_archive
from tools.archive.zip_archive import DAMAGE, open_zip


def _zip(directory: Path, content: bytes, *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = directory / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("member", content)
    return path


def _changed(path: Path, offset: int, value: int) -> Path:
    """Change a byte, given by its offset in the local header, in both headers of the member."""
    content = bytearray(path.read_bytes())
    content[offset] = value
    content[content.index(b"PK\x01\x02") + offset + 2] = value
    path.write_bytes(content)
    return path


def test_an_archive_is_opened(tmp_path: Path) -> None:
    with open_zip(_zip(tmp_path, b"content")) as archive:
        assert archive.read("member") == b"content"


def test_a_bomb_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _zip(tmp_path, bytes(1000))
    monkeypatch.setattr(zip_archive, "MAX_UNPACKED", 1000)
    open_zip(path).close()
    monkeypatch.setattr(zip_archive, "MAX_UNPACKED", 999)
    with pytest.raises(ValueError, match="unpacks to 1000 bytes, more than 999"):
        open_zip(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'member' is encrypted"):
        open_zip(_changed(_zip(tmp_path, b"x"), 6, 1))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_is_one_of_the_errors_that_callers_expect(tmp_path: Path, compression: int) -> None:
    path = _zip(tmp_path, os.urandom(1000), compression=compression)
    good = path.read_bytes()
    begin = good.index(b"member") + len(b"member")
    with open_zip(path) as archive:
        content = archive.read("member")
    fell = 0
    for offset in range(begin, begin + 200):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 0xFF]) + good[offset + 1 :])
        try:
            with open_zip(path) as archive:
                assert archive.read("member") == content, "an unused bit"
        except (*DAMAGE, ValueError, OSError):
            fell += 1
    assert fell > 190


@pytest.mark.parametrize(("offset", "value"), [(4, 99), (6, 0x20), (8, 99)])
def test_what_zipfile_does_not_know_is_damage(tmp_path: Path, offset: int, value: int) -> None:
    path = _changed(_zip(tmp_path, b"x"), offset, value)
    with pytest.raises(DAMAGE), open_zip(path) as archive:
        archive.read("member")


def test_a_member_that_is_cut_short_has_a_reason() -> None:
    assert zip_archive.reason(EOFError()) == "a member ends early"
    assert zip_archive.reason(ValueError("why")) == "why"


def test_a_member_that_is_said_to_be_longer_than_the_archive_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path, b"x" * 100)
    content = path.read_bytes()
    length = content.rindex(b"PK\x01\x02") + 20  # where the directory has the stored size
    path.write_bytes(content[:length] + b"\xff\xff\xff\x7f" + content[length + 4 :])
    with pytest.raises(ValueError, match="'member' is said to be longer than the archive"):
        open_zip(path)
