"""Plain files become a layer as the flags say, and flags that contradict each other are errors."""

import tarfile
from pathlib import Path

import pytest

from tools.archive import file_layer


def _build(directory: Path, *flags: str) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    out = ["--out", str(directory / "l.tar.gz"), "--descriptor", str(directory / "l.json")]
    return file_layer.main(["--mtime", "1700000000", *out, *flags])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a=file.txt"
    path.write_bytes(b"hello\n")
    return path


def test_files_directories_and_links_are_where_the_flags_say(tmp_path: Path, source: Path) -> None:
    flags = ["--file", f"{source}=/etc/motd", "--dir", "/srv/data", "--symlink", "/srv/now=data"]
    more = ["--mode", "/etc/motd=0600", "--owner", "/srv/data=1000:1001"]
    assert _build(tmp_path / "out", *flags, *more) == 0
    with tarfile.open(tmp_path / "out/l.tar.gz") as tar:
        motd, data, now = (tar.getmember(n) for n in ("etc/motd", "srv/data", "srv/now"))
    assert (motd.mode, motd.uid, motd.size) == (0o600, 0, 6)
    assert (data.mode, data.uid, data.gid) == (0o755, 1000, 1001)
    assert now.linkname == "data"


def test_metadata_on_disk_is_ignored(tmp_path: Path, source: Path) -> None:
    flags = ["--file", f"{source}=/etc/motd"]
    _build(tmp_path / "one", *flags)
    source.chmod(0o777)
    _build(tmp_path / "two", *flags, "--jobs", "3")
    one, two = ((tmp_path / name / "l.tar.gz").read_bytes() for name in ("one", "two"))
    assert one == two


def test_flags_may_stand_in_a_file(tmp_path: Path) -> None:
    params = tmp_path / "params"
    params.write_text("--dir\n/a b\n", encoding="utf-8")
    assert _build(tmp_path, f"@{params}") == 0
    with tarfile.open(tmp_path / "l.tar.gz") as tar:
        assert tar.getnames() == ["a b"]


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (["--dir", "relative"], "begin it with '/'"),
        (["--dir", "/a", "--symlink", "/a=b"], "a: added twice"),
        (["--mode", "/a=0600"], "a mode is given, but the layer has no such path"),
        (["--owner", "/a=1:1"], "an owner is given, but the layer has no such path"),
        (["--dir", "/a", "--mode", "/a=4755"], "mode 4755 is not allowed here"),
        (["--symlink", "/a=b", "--symlink", "/a=c"], "given twice: 'b' and 'c'"),
        (["--file", "/nonexistent=/a"], "No such file"),
    ],
)
def test_contradictory_flags_are_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], cause: str
) -> None:
    assert _build(tmp_path, *flags) == 1
    error = capsys.readouterr().err
    assert cause in error
    assert error.startswith("file_layer: ")
    assert error.count("\n") == 1
