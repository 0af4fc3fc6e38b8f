"""What the comparison says of two builds, for every kind of difference it knows."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tools.proof.compare import first_difference


def _layer(
    path: Path,
    entries: dict[str, bytes],
    *,
    level: int = 6,
    fields: dict[str, object] | None = None,
) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for field, value in (fields or {}).items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(buffer.getvalue(), level, mtime=0))
    return path


def test_equal_layers_have_no_difference(tmp_path: Path) -> None:
    one = _layer(tmp_path / "one.tar.gz", {"a": b"1", "b": b"2"})
    other = _layer(tmp_path / "other.tar.gz", {"a": b"1", "b": b"2"})
    assert first_difference(one, other) is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mode", 0o600, "/a: mode is 0644 in one build and 0600 in the other"),
        (
            "mtime",
            5,
            ("/a: time is 1970-01-01T00:00:00Z in one build and 1970-01-01T00:00:05Z in the other"),
        ),
        ("uid", 1000, "/a: owner is 0:0 in one build and 1000:0 in the other"),
        (
            "pax_headers",
            {"SCHILY.xattr.user.a": "1"},
            "/a: extended attribute user.a is none in one build and '1' in the other",
        ),
        ("uname", "me", "/a: owner's name is : in one build and me: in the other"),
    ],
)
def test_a_differing_header_field_is_named(
    tmp_path: Path, field: str, value: object, message: str
) -> None:
    one = _layer(tmp_path / "one.tar.gz", {"a": b"1"})
    other = _layer(tmp_path / "other.tar.gz", {"a": b"1"}, fields={field: value})
    assert first_difference(one, other) == message


def test_the_first_differing_byte_is_named(tmp_path: Path) -> None:
    one = _layer(tmp_path / "one.tar.gz", {"a": b"same", "b": b"x1z"})
    other = _layer(tmp_path / "other.tar.gz", {"a": b"same", "b": b"x2z"})
    difference = "/b: the contents differ from byte 1 on, line 1: 'x1z' → 'x2z'"
    assert first_difference(one, other) == difference


def test_an_entry_of_only_one_layer_is_named(tmp_path: Path) -> None:
    one = _layer(tmp_path / "one.tar.gz", {"a": b"1", "b": b"2"})
    other = _layer(tmp_path / "other.tar.gz", {"a": b"1", "b": b"2", "c": b"3"})
    assert first_difference(one, other) == "/c is in only one of the two builds"


def test_entries_in_another_order_are_named(tmp_path: Path) -> None:
    one = _layer(tmp_path / "one.tar.gz", {"a": b"1", "b": b"2"})
    other = _layer(tmp_path / "other.tar.gz", {"b": b"2", "a": b"1"})
    difference = "/a: order of members is first in one build and after /b in the other"
    assert first_difference(one, other) == difference


def test_equal_entries_in_other_compression_are_still_a_difference(tmp_path: Path) -> None:
    content = {"a": b"the same text again and again " * 1000}
    one = _layer(tmp_path / "one.tar.gz", content, level=1)
    other = _layer(tmp_path / "other.tar.gz", content, level=9)
    difference = first_difference(one, other)
    assert difference is not None
    assert "every entry is equal" in difference


def test_directories_are_compared_by_name_and_through_links(tmp_path: Path) -> None:
    for name, content in (("one", "x"), ("other", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.blob").write_text(content)
        (tmp_path / name / "blob").symlink_to(tmp_path / f"{name}.blob")
    difference = first_difference(tmp_path / "one", tmp_path / "other")
    assert difference is not None
    assert difference.startswith("blob: the bytes differ (sha256 ")
    (tmp_path / "other" / "a").touch()
    assert (
        first_difference(tmp_path / "one", tmp_path / "other")
        == "a is in only one of the two builds"
    )
