"""The lock command on archives made in the test, and end to end on the signed one of testdata."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.apt.gpgv_for_test import KEYRING, TESTDATA, verifier
from tools.apt.index import Package, Release, Suite
from tools.apt.intent import Group, Intent, PathRule
from tools.apt.lock import Archive, changes, expired, main, make_lock
from tools.apt.lockfile import Lock, decode, encode, read_lock
from tools.apt.packages_for_test import package
from tools.cli import ToolError

_SUITE = Suite(archive="debian", name="bookworm")
_INTENT = """\
suites: [{archive: debian, suite: bookworm, component: main}]
architectures: [amd64, arm64]
timestamp: 2020-01-02T00:00:00Z
image: {base: {packages: {application: it is wanted}}}
exclude_packages: {helper: nothing needs it}
exclude_paths: [{reason: documentation, globs: [usr/share/man/**]}]
tools: {service: {packages: {library: a tool}}}
"""


def _intent(
    *,
    image: tuple[Group, ...] = (Group("base", {"app": "why"}, {}),),
    tools: tuple[Group, ...] = (),
    exclude: dict[str, str] | None = None,
) -> Intent:
    return Intent(
        suites=(_SUITE,),
        architectures=("amd64",),
        timestamp=1577923200,
        image=image,
        tools=tools,
        exclude_packages=exclude or {},
        exclude_paths=(PathRule("usr/share/man/**", "documentation"),),
        sha256="digest",
    )


def _release(day: int, *, valid_until: datetime | None = None) -> Release:
    date = datetime(2020, 1, day, tzinfo=UTC)
    return Release(suite=_SUITE, date=date, valid_until=valid_until, by_hash=False, files={})


def _lock(intent: Intent, *packages: Package) -> Lock:
    archive = Archive(releases=(_release(1), _release(3)), packages={"amd64": packages})
    return make_lock(intent, archive=archive)


_PACKAGES = (
    package("app", depends="lib, tool"),
    package("video", depends="lib, codec"),
    package("lib", depends="base"),
    package("base"),
    package("codec"),
    package("tool", depends="perl"),
    package("perl"),
)


def test_a_package_belongs_to_the_first_group_that_needs_it() -> None:
    image = (Group("base", {"lib": "why"}, {}), Group("media", {"video": "why"}, {}))
    lock = _lock(_intent(image=image), *_PACKAGES)
    assert lock.groups == {
        "base": {"amd64": ("base", "lib")},
        "media": {"amd64": ("codec", "video")},
    }
    assert [found.name for found in lock.packages] == ["base", "codec", "lib", "video"]
    assert lock.package("video", arch="amd64").depends == ("codec", "lib")


def test_an_excluded_package_leaves_the_image_and_its_version_stays_on_record() -> None:
    lock = _lock(_intent(exclude={"perl": "scripts"}), *_PACKAGES)
    assert lock.groups["base"]["amd64"] == ("app", "base", "lib", "tool")
    assert lock.excluded_versions == {"amd64": {"perl": "1"}}
    assert "perl" not in {found.name for found in lock.packages}


def test_a_tool_group_has_a_closure_of_its_own_whatever_the_image_excludes() -> None:
    tools = (Group("service", {"tool": "why"}, {}),)
    lock = _lock(_intent(tools=tools, exclude={"perl": "scripts"}), *_PACKAGES)
    assert lock.groups["service"]["amd64"] == ("perl", "tool")
    assert set(lock.image("amd64")) == {"app", "base", "lib", "tool"}


def test_a_tool_group_leaves_its_own_exclusions_out() -> None:
    tools = (Group("service", {"tool": "why"}, {"perl": "scripts"}),)
    assert _lock(_intent(tools=tools), *_PACKAGES).groups["service"]["amd64"] == ("tool",)


def test_the_snapshot_is_half_a_day_after_the_newest_release() -> None:
    lock = _lock(_intent(), *_PACKAGES)
    assert lock.snapshot == "20200103T120000Z"


def test_without_a_timestamp_the_layers_have_the_snapshots_time() -> None:
    lock = _lock(replace(_intent(), timestamp=None), *_PACKAGES)
    assert lock.mtime == datetime(2020, 1, 3, 12, tzinfo=UTC).timestamp()


def _complete(exclude: dict[str, str], *names: str) -> Intent:
    image = (
        Group("programs", dict.fromkeys(names[:1], "why"), {}),
        Group("libraries", dict.fromkeys(names[1:], "why"), {}),
    )
    return replace(_intent(image=image, exclude=exclude), complete=True)


def test_a_complete_intent_is_locked_as_it_is_written() -> None:
    # What perl would need need not even exist.
    perl = package("perl", depends="nowhere")
    lock = _lock(
        _complete({"perl": "scripts"}, "app", "lib", "base", "tool"), perl, *_PACKAGES[:-1]
    )
    assert lock.groups == {
        "programs": {"amd64": ("app",)},
        "libraries": {"amd64": ("base", "lib", "tool")},
    }
    assert [found.name for found in lock.packages] == ["app", "base", "lib", "tool"]
    assert lock.package("tool", arch="amd64").depends == ()
    assert lock.excluded_packages == {"perl": "scripts"}


@pytest.mark.parametrize(
    ("exclude", "names", "message"),
    [
        ({"perl": "why"}, ("app", "lib", "base"), "app depends on tool"),
        ({}, ("app", "lib", "tool"), "lib depends on base\n  tool depends on perl"),
        ({"perl": "why", "codec": "why"}, ("app", "lib", "base", "tool"), "names codec, which"),
        (
            {"perl": "why"},
            ("app", "lib", "base", "tool", "aa", "bb"),
            "'aa'; there is no package 'bb'",
        ),
        ({"perl": "why"}, ("app", "lib", "base", "tool", "perl"), "asks for perl and excludes it"),
    ],
)
def test_a_complete_intent_that_is_not_complete_is_refused(
    exclude: dict[str, str], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ToolError) as caught:
        _lock(_complete(exclude, *names), *_PACKAGES)
    assert message in str(caught.value)


def test_the_time_of_the_layers_is_the_intents_and_not_the_archives() -> None:
    assert _lock(_intent(), *_PACKAGES).mtime == 1577923200


@pytest.mark.parametrize(
    ("intent", "message"),
    [
        (
            _intent(exclude={"tool": "why"}),
            "only excluded packages need perl; name them in exclude_packages too",
        ),
        (_intent(exclude={"codec": "why"}), "exclude_packages names codec, which nothing in"),
        (_intent(exclude={"app": "why"}), "group 'base' asks for app and excludes it as well"),
        (
            _intent(tools=(Group("service", {"tool": "why"}, {"codec": "why"}),)),
            "tools: exclude_packages names codec, which nothing needs on amd64; drop it",
        ),
        (
            _intent(tools=(Group("service", {"tool": "why"}, {"tool": "why"}),)),
            "group 'service' asks for tool and excludes it as well",
        ),
    ],
)
def test_an_exclusion_that_makes_no_sense_is_refused(intent: Intent, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        _lock(intent, *_PACKAGES)
    assert message in str(caught.value)


def test_the_order_of_the_index_does_not_change_the_lock() -> None:
    intent = _intent(exclude={"perl": "scripts"})
    assert encode(_lock(intent, *_PACKAGES)) == encode(_lock(intent, *reversed(_PACKAGES)))


def test_a_lock_survives_being_written_and_read() -> None:
    lock = _lock(_intent(exclude={"perl": "scripts"}), *_PACKAGES)
    assert decode(encode(lock)) == lock


def test_an_expired_index_is_reported_with_its_suite() -> None:
    until = datetime(2020, 1, 8, tzinfo=UTC)
    archive = Archive(releases=(_release(1, valid_until=until), _release(3)), packages={})
    assert expired(archive, now=datetime(2020, 1, 8, tzinfo=UTC)) == []
    assert expired(archive, now=datetime(2020, 1, 9, tzinfo=UTC)) == [
        "debian bookworm: the index was valid until 2020-01-08 00:00:00+00:00, which is past"
    ]


def test_changes_name_each_package_that_comes_goes_or_changes() -> None:
    old = _lock(_intent(), package("app", depends="aa, bb"), package("aa"), package("bb"))
    new = _lock(_intent(), package("app", "2", depends="bb, cc"), package("bb"), package("cc"))
    assert changes(old, old) == []
    assert changes(old, new) == [
        "aa (amd64) 1 → absent",
        "app (amd64) 1 → 2",
        "cc (amd64) absent → 1",
    ]


def test_a_lock_that_is_invalid_names_the_file_and_the_command(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.json"
    for text, cause in (("{", "is not a lock"), ('{"version": 2}', "is of version 2, wanted 1")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ToolError) as caught:
            read_lock(path)
        assert str(caught.value).startswith(f"{path}: {cause}")
        assert "make it anew with the lock target beside it" in str(caught.value)


class Workspace:
    """A directory with an intent, a mirror of testdata's archive, and the command's flags."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mirror = directory / "debian"
        shutil.copytree(TESTDATA / "archive", self.mirror)
        self.lock = directory / "x.lock.json"
        (directory / "x.yaml").write_text(_INTENT, encoding="utf-8")
        monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(directory))
        monkeypatch.setenv("DEBIAN_MIRROR", self.mirror.as_uri())
        # The tests' own gpgv, behind a launcher, since the command wants one program.
        command = verifier(directory / "gpgv").command
        self.gpgv = directory / "run_gpgv"
        self.gpgv.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n', encoding="utf-8")
        self.gpgv.chmod(0o755)

    def run(self, *flags: str, keyring: Path = KEYRING) -> int:
        """Run the lock command and return its exit code."""
        return main(
            [
                *("--intent", "x.yaml", "--lock", "x.lock.json", *flags),
                *("--command", "bazel run //app:lock"),
                *("--gpgv", str(self.gpgv), "--keyring", str(keyring.resolve())),
            ]
        )

    def edit(self, path: str, old: bytes, new: bytes) -> None:
        """Change a file of the mirror."""
        file = self.mirror / "dists/bookworm" / path
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new, 1))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return Workspace(tmp_path, monkeypatch)


def test_a_lock_is_written_from_a_signed_archive(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workspace.run("--allow-expired") == 0
    lock = read_lock(workspace.lock)
    assert lock.snapshot == "20200101T120000Z"
    assert lock.groups == {
        "base": {"amd64": ("application", "library"), "arm64": ("application", "library")},
        "service": {"amd64": ("library",), "arm64": ("library",)},
    }
    assert lock.command == "bazel run //app:lock"
    library = lock.package("library", arch="arm64")
    assert library.version == "1.10-1"
    assert library.filename == "pool/main/library_1.10-1_arm64.deb"
    assert "was valid until" in capsys.readouterr().err
    assert workspace.lock.stat().st_mode & 0o777 == 0o644
    assert not list(workspace.lock.parent.glob(".x.lock.json*"))


def test_the_same_archive_gives_the_same_bytes(workspace: Workspace) -> None:
    workspace.run("--allow-expired")
    first = workspace.lock.read_bytes()
    workspace.lock.unlink()
    workspace.run("--allow-expired")
    assert workspace.lock.read_bytes() == first


def test_check_tells_a_fresh_lock_from_a_stale_one_and_writes_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workspace.run("--allow-expired", "--check") == 1
    assert not workspace.lock.exists()
    workspace.run("--allow-expired")
    assert workspace.run("--allow-expired", "--check") == 0
    stale = workspace.lock.read_text(encoding="utf-8").replace("1.10-1", "1.09-1")
    workspace.lock.write_text(stale, encoding="utf-8")
    capsys.readouterr()
    assert workspace.run("--allow-expired", "--check") == 1
    output = capsys.readouterr()
    assert "library (amd64) 1.09-1 → 1.10-1" in output.out
    assert "x.lock.json is stale; renew it with: bazel run //app:lock" in output.err
    assert workspace.lock.read_text(encoding="utf-8") == stale


def _refusal(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], *flags: str, keyring: Path = KEYRING
) -> str:
    """Run on an old lock, which must stay as it is, and return what was said."""
    old = b"the old lock\n"
    if not workspace.lock.exists():
        workspace.lock.write_bytes(old)
    before = workspace.lock.read_bytes()
    assert workspace.run(*flags, keyring=keyring) == 1
    assert workspace.lock.read_bytes() == before
    message = capsys.readouterr().err
    assert message.endswith("\nx.lock.json is left as it was\n")
    return message


def test_an_expired_index_is_refused_unless_allowed(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _refusal(workspace, capsys)
    assert "debian bookworm: the index was valid until 2020-01-08" in message
    assert "pass --allow-expired" in message


def test_a_tampered_release_leaves_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.edit("InRelease", b"amd64", b"amd46")
    assert "no good signature" in _refusal(workspace, capsys, "--allow-expired")


def test_an_untrusted_key_leaves_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    message = _refusal(workspace, capsys, "--allow-expired", keyring=TESTDATA / "stranger.gpg")
    assert "no good signature by a key of stranger.gpg" in message


def test_tampered_packages_leave_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.edit("main/binary-arm64/Packages.xz", b"YZ", b"ZY")
    message = _refusal(workspace, capsys, "--allow-expired")
    assert "main/binary-arm64/Packages.xz: SHA256 is " in message


def test_a_mirror_that_cannot_be_reached_leaves_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBIAN_MIRROR", "http://127.0.0.1:1/debian")
    message = _refusal(workspace, capsys, "--allow-expired")
    assert "http://127.0.0.1:1/debian/dists/bookworm/InRelease: " in message
    assert "Check the network" in message


def test_an_archive_older_than_the_lock_is_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run("--allow-expired")
    text = workspace.lock.read_text(encoding="utf-8")
    workspace.lock.write_text(text.replace("20200101T12", "20300101T00"), encoding="utf-8")
    capsys.readouterr()
    message = _refusal(workspace, capsys, "--allow-expired")
    assert "was made from the archive of 20300101T000000Z" in message
    assert "lags behind, use another" in message


def test_a_dependency_that_is_gone_leaves_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    intent = workspace.lock.with_name("x.yaml")
    intent.write_text(_INTENT.replace("application:", "aplication:"), encoding="utf-8")
    message = _refusal(workspace, capsys, "--allow-expired")
    assert "lock: image (amd64): there is no package 'aplication'" in message
