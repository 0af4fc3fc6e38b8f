"""Each kind of trace that a build can leave in a layer is found."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tools.proof.traces import findings


def _layer(path: Path, *, content: bytes = b"x", **fields: object) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("usr/lib/a.pyc")
        info.size = len(content)
        for field, value in fields.items():
            setattr(info, field, value)
        tar.addfile(info, io.BytesIO(content))
    return path


def test_a_layer_without_traces_is_clean(tmp_path: Path) -> None:
    assert findings([_layer(tmp_path / "a")], (b"/home/me",)) == []


@pytest.mark.parametrize(
    ("fields", "finding"),
    [
        ({"content": b"co_filename /home/me/x.py"}, "usr/lib/a.pyc: has '/home/me' in it"),
        ({"name": "home/me/a"}, "home/me/a: has 'home/me' in it"),
        ({"uname": "me"}, "usr/lib/a.pyc: has an owner's name, me:"),
    ],
)
def test_a_trace_is_named_with_its_file(
    tmp_path: Path, fields: dict[str, object], finding: str
) -> None:
    layer = tmp_path / "a"
    content = fields.pop("content", b"x")
    assert isinstance(content, bytes)
    _layer(layer, content=content, **fields)
    assert finding in findings([layer], (b"/home/me", b"home/me"))


def test_two_times_are_a_trace(tmp_path: Path) -> None:
    layers = [_layer(tmp_path / "a", mtime=5), _layer(tmp_path / "b", mtime=7)]
    assert findings(layers, ()) == ["entries have 2 different times, from 5 to 7"]
