"""Plain files become a layer as asked for, and contradictory content is an error."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.archive import file_layer
from tools.archive.layer import read_content
from tools.cli import ToolError


def _build(directory: Path, *flags: str, **content: Any) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    whole = {"dirs": [], "files": [], "modes": {}, "owners": {}, "symlinks": {}, **content}
    (directory / "content.json").write_text(json.dumps(whole))
    out = ["--out", str(directory / "l.tar.gz"), "--descriptor", str(directory / "l.json")]
    content_flag = f"--content={directory}/content.json"
    return file_layer.main(["--mtime", "1700000000", *out, content_flag, *flags])


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "a=file.txt"
    path.write_bytes(b"hello\n")
    return str(path)


def test_files_directories_and_links_are_where_the_content_says(
    tmp_path: Path, source: str
) -> None:
    assert (
        _build(
            tmp_path / "out",
            files=[(source, "/etc/motd")],
            dirs=["/srv/data"],
            symlinks={"/srv/now": "data"},
            modes={"/etc/motd": "0600"},
            owners={"/srv/data": "1000:1001"},
        )
        == 0
    )
    with tarfile.open(tmp_path / "out/l.tar.gz") as tar:
        motd, data, now = (tar.getmember(n) for n in ("etc/motd", "srv/data", "srv/now"))
    assert (motd.mode, motd.uid, motd.size) == (0o600, 0, 6)
    assert (data.mode, data.uid, data.gid) == (0o755, 1000, 1001)
    assert now.linkname == "data"


@pytest.mark.parametrize("name", ["day=1", "@x", "-x", "a b", "a,b:c", "=", "caf\u00e9", "'\"$\\"])
def test_a_path_may_have_any_character(tmp_path: Path, name: str) -> None:
    source = tmp_path / name / name
    source.parent.mkdir()
    source.write_bytes(b"hello\n")
    path = f"/srv/{name}/{name}"
    assert (
        _build(
            tmp_path / "out",
            files=[(str(source), path)],
            dirs=[f"/{name}"],
            symlinks={f"/s{name}": name},
            modes={path: "0600"},
            owners={path: "1:2", f"/s{name}": "3:4"},
        )
        == 0
    )
    with tarfile.open(tmp_path / "out/l.tar.gz") as tar:
        file, link = tar.getmember(path[1:]), tar.getmember(f"s{name}")
        assert tar.getmember(name).isdir()
    assert (file.mode, file.uid, file.gid, file.size) == (0o600, 1, 2, 6)
    assert (link.linkname, link.uid, link.gid) == (name, 3, 4)


def test_metadata_on_disk_is_ignored(tmp_path: Path, source: str) -> None:
    _build(tmp_path / "one", files=[(source, "/etc/motd")])
    Path(source).chmod(0o777)
    _build(tmp_path / "two", "--jobs", "3", files=[(source, "/etc/motd")])
    one, two = ((tmp_path / name / "l.tar.gz").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ({"dirs": ["relative"]}, "begin it with '/'"),
        ({"dirs": ["/a"], "symlinks": {"/a": "b"}}, "a: added twice"),
        ({"modes": {"/a": "0600"}}, "a mode is given, but the layer has no such path"),
        ({"owners": {"/a": "1:1"}}, "an owner is given, but the layer has no such path"),
        ({"dirs": ["/a"], "modes": {"/a": "4755"}}, "mode 4755 is not allowed here"),
        ({"modes": {"/a": "u+x"}}, "/a: a mode must be octal digits such as 0644, found 'u+x'"),
        ({"owners": {"/a": "root"}}, "/a: an owner must be UID:GID in numbers, found 'root'"),
        ({"files": [("b", "/a"), ("c", "/a")]}, "given twice: 'b' and 'c'"),
        ({"files": [("/nonexistent", "/a")]}, "No such file"),
        ({"file": []}, "content.json: wanted an object with dirs, files, modes, owners, symlinks"),
    ],
)
def test_contradictory_content_is_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: dict[str, Any], cause: str
) -> None:
    assert _build(tmp_path, **content) == 1
    error = capsys.readouterr().err
    assert cause in error
    assert error.startswith("file_layer: ")
    assert error.count("\n") == 1


def test_content_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "content.json"
    path.write_text("{")
    with pytest.raises(ToolError, match=f"{path}: is not JSON"):
        read_content(path, keys=())
