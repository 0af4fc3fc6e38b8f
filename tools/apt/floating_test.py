"""What stands in for files that are gone, from a mirror that has the next state of the archive."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.apt.floating import current_versions, main
from tools.apt.gpgv_for_test import signing_debs, verifier
from tools.apt.lockfile import Lock, LockedRelease, read_lock
from tools.apt.workspace_for_test import Workspace
from tools.cli import ToolError

_NOW = datetime(2020, 1, 2, tzinfo=UTC)
_INTENT = """\
suites: [{archive: debian, suite: bookworm, component: main}]
architectures: [amd64, arm64]
image: {base: {packages: {helper: it is wanted}}}
tools: {service: {packages: {application: a test starts it}}}
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A lock of the archive as it was; the mirror has the next state."""
    workspace = Workspace(tmp_path, monkeypatch)
    (tmp_path / "x.yaml").write_text(_INTENT, encoding="utf-8")
    workspace.serve("old")
    assert workspace.run("--allow-expired") == 0
    workspace.serve("archive")
    return workspace


def _current(
    workspace: Workspace, *, lock: Lock | None = None, now: datetime = _NOW
) -> dict[str, dict[str, str]]:
    lock = lock or read_lock(workspace.lock)
    return current_versions(
        lock,
        {package.filename for package in lock.packages},
        mirrors={"debian": [workspace.mirror.as_uri()]},
        verifier=verifier(),
        now=now,
    )


def test_tools_are_in_the_suites_current_version_and_nothing_of_the_image_is(
    workspace: Workspace,
) -> None:
    before = workspace.lock.read_bytes()
    found = _current(workspace)
    assert {old: (new["filename"], new["version"]) for old, new in found.items()} == {
        f"pool/main/library_1.2-1_{arch}.deb": (f"pool/main/library_1.10-1_{arch}.deb", "1.10-1")
        for arch in ("amd64", "arm64")
    }
    assert {new["suite"] for new in found.values()} == {"bookworm"}
    assert workspace.lock.read_bytes() == before


def test_of_two_suites_the_highest_version_is_taken_and_not_the_one_signed_last(
    workspace: Workspace,
) -> None:
    lock = read_lock(workspace.lock)
    updates = LockedRelease("debian", "bookworm-updates", "20200102T000000Z", "")
    found = _current(workspace, lock=replace(lock, releases=(*lock.releases, updates)))
    assert {new["version"] for new in found.values()} == {"1.10-1"}


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("InRelease", b"amd64", b"amd46", "no good signature"),
        ("main/binary-amd64/Packages.xz", b"7zXZ", b"7zXY", "InRelease wants "),
    ],
)
def test_mirror_that_lies_is_refused(
    workspace: Workspace, file: str, old: bytes, new: bytes, words: str
) -> None:
    workspace.edit(file, old, new)
    with pytest.raises(ToolError, match=words):
        _current(workspace)


def test_index_that_has_expired_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ToolError, match="bookworm: the index was valid until 2020-01-08"):
        _current(workspace, now=datetime(2020, 1, 9, tzinfo=UTC))


def test_index_older_than_the_locks_is_refused(workspace: Workspace) -> None:
    assert workspace.run("--allow-expired") == 0
    workspace.serve("old")
    with pytest.raises(ToolError, match=r"is of 2019-07-01 .*, older than the lock's 20200101T"):
        _current(workspace)


def test_command_says_what_it_wants(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lock.json"]) == 1
    assert "floating: wanted LOCK MIRRORS PINS SIGNING_DEB…, found lock" in capsys.readouterr().err
    mirrors, pins = tmp_path / "mirrors.json", tmp_path / "pins.json"
    pins.write_text("{", encoding="utf-8")
    files = [workspace.lock, mirrors, pins, *(signing_debs() or [tmp_path])]
    assert main([str(file) for file in files]) == 1
    assert "pins.json: Expecting property name" in capsys.readouterr().err
