"""The lock command on archives made in the test, and end to end on the signed one of testdata."""

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tools.apt import lock as lock_command
from tools.apt import lockfile
from tools.apt.available import read_available
from tools.apt.compare_apt import Record, ask_apt, read_record
from tools.apt.gpgv_for_test import KEYRING, TESTDATA, apt_debs
from tools.apt.index import Package, Release, Suite
from tools.apt.intent import Group, Intent, PathRule
from tools.apt.lock import Archive, changes, expired, make_lock, refuse_older
from tools.apt.lockfile import Lock, LockedRelease, decode, encode, permanent_urls, read_lock
from tools.apt.packages_for_test import package
from tools.apt.workspace_for_test import INTENT, Workspace
from tools.archive.debs_for_test import write_deb
from tools.cli import ToolError

_SUITE = Suite(archive="debian", name="bookworm")


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
    other = replace(package("app"), sha256="1" * 64)
    assert changes(_lock(_intent(), package("app")), _lock(_intent(), other)) == [
        f"app (amd64) 1: sha256 {'0' * 64!r} → {'1' * 64!r}"
    ]
    assert changes(old, replace(old, mtime=1)) == [
        "something other than packages (groups, exclusions, indexes)"
    ]


def test_a_package_is_downgraded_only_when_it_is_named() -> None:
    old = _lock(_intent(), package("app", "1.12", depends="lib"), package("lib", "3"))
    new = _lock(_intent(), package("app", "1.2", depends="lib"), package("lib", "2"))
    with pytest.raises(ToolError) as caught:
        refuse_older(old, new, downgrades=["lib"])
    assert str(caught.value) == (
        "packages would be downgraded:\n  app (amd64) 1.12 → 1.2\nIf the archive has really"
        " withdrawn the newer ones, pass --allow-downgrade app"
    )
    refuse_older(old, new, downgrades=["lib", "app"])
    refuse_older(new, old)


def test_the_permanent_archive_is_asked_for_times_after_the_index() -> None:
    release = LockedRelease("debian", "bookworm", "20200101T230000Z", "0" * 64)
    urls = permanent_urls(release)
    assert urls[0].endswith("/archive/debian/20200102T020000Z")
    assert urls[-1].endswith("/archive/debian/20200102T230000Z")


def test_a_lock_that_is_invalid_names_the_file_and_the_command(tmp_path: Path) -> None:
    path = tmp_path / "x.lock.json"
    good = encode(_lock(_intent(), package("app")))
    for text, cause in (
        ("{", "is not a lock"),
        ('{"version": 2}', "is of version 2, wanted 1"),
        (good.replace("20200103T00", "2020-01-03T00"), "is not a lock: ValueError"),
        (good.replace('"20200103T000000Z"', "3"), "is not a lock: TypeError"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ToolError) as caught:
            read_lock(path)
        assert str(caught.value).startswith(f"{path}: {cause}")
        assert "make it anew with the lock target beside it" in str(caught.value)


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
    assert "It lags behind, or somebody replays old files: use another mirror" in message


def test_a_dependency_that_is_gone_leaves_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    intent = workspace.lock.with_name("x.yaml")
    intent.write_text(INTENT.replace("application:", "aplication:"), encoding="utf-8")
    message = _refusal(workspace, capsys, "--allow-expired")
    assert "lock: image (amd64): there is no package 'aplication'" in message


_TWO_SUITES = INTENT.replace(
    "main}]",
    "main}, {archive: debian-security, suite: bookworm-security, component: main}]",
)


def test_one_suite_is_not_rolled_back_beside_a_fresh_one(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.lock.with_name("x.yaml").write_text(_TWO_SUITES, encoding="utf-8")
    workspace.run("--allow-expired")
    lock = read_lock(workspace.lock)
    assert [(found.suite, found.date) for found in lock.releases] == [
        ("bookworm", "20200101T000000Z"),
        ("bookworm-security", "20200201T000000Z"),
    ]
    workspace.serve("old")
    message = _refusal(workspace, capsys, "--allow-expired", "--allow-downgrade", "library")
    assert (
        "debian bookworm: the lock was made from the index of 20200101T000000Z, the mirror has only"
        " that of 20190701T000000Z\nIt lags behind" in message
    )


def test_a_lock_without_a_record_of_its_suites_still_refuses_downgrades(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.lock.with_name("x.yaml").write_text(_TWO_SUITES, encoding="utf-8")
    workspace.run("--allow-expired")
    lock = replace(read_lock(workspace.lock), releases=())
    text = encode(lock).replace('  "releases": [],\n', "")
    assert "releases" not in text
    workspace.lock.write_text(text, encoding="utf-8")
    workspace.serve("old")
    capsys.readouterr()
    message = _refusal(workspace, capsys, "--allow-expired")
    assert "x.lock.json does not record the index of each suite; only the newest of them" in message
    assert "packages would be downgraded:\n  library (amd64) 1.10-1 → 1.2-1\n" in message
    assert workspace.run("--allow-expired", "--allow-downgrade", "library") == 0
    assert read_lock(workspace.lock).package("library", arch="arm64").version == "1.2-1"


def test_an_old_lock_that_cannot_be_read_is_replaced_with_a_warning(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.lock.write_text("<<<<<<< a merge conflict", encoding="utf-8")
    assert workspace.run("--allow-expired") == 0
    assert "x.lock.json: is not a lock: " in capsys.readouterr().err
    workspace.lock.write_text("\n", encoding="utf-8")
    assert workspace.run("--allow-expired") == 0
    assert "not a lock" not in capsys.readouterr().err, "an empty file is a new workspace's"


@pytest.mark.parametrize("signed", ["sha1", "rsa1024"])
def test_a_weak_signature_leaves_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], signed: str
) -> None:
    workspace.serve("archive", signed=signed)
    assert "no good signature" in _refusal(workspace, capsys, "--allow-expired")


def test_an_index_of_the_future_leaves_the_old_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.serve("archive", signed="of_2099")
    message = _refusal(workspace, capsys, "--allow-expired")
    assert "debian bookworm: InRelease is of 2099-01-01 00:00:00+00:00, which is in the" in message
    assert "this machine's clock is wrong, or the archive's" in message


def test_a_lock_is_verified_from_the_indexes_that_it_names(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run("--allow-expired")
    before = workspace.lock.read_bytes()
    capsys.readouterr()
    assert workspace.run("--verify") == 0
    assert capsys.readouterr().out == (
        "x.lock.json: 4 packages as the signed indexes say: debian bookworm 20200101T000000Z\n"
    )
    assert workspace.lock.read_bytes() == before


@pytest.mark.parametrize("field", ["sha256", "filename", "version", "source"])
def test_an_invented_value_is_found_when_the_lock_is_verified(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    workspace.run("--allow-expired")
    lock = read_lock(workspace.lock)
    first = lock.packages[0]
    forged = encode(lock).replace(f'"{field}": "{vars(first)[field]}"', f'"{field}": "0000"', 1)
    assert forged != encode(lock)
    workspace.lock.write_text(forged, encoding="utf-8")
    capsys.readouterr()
    assert workspace.run("--verify") == 1
    output = capsys.readouterr()
    assert "application (amd64) " in output.out
    assert str(vars(first)[field]) in output.out
    assert "x.lock.json is not what the signed indexes that it names give (debian " in output.err


def test_a_forged_record_of_an_index_is_found_when_the_lock_is_verified(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lockfile, "_SNAPSHOT", workspace.mirror.as_uri())
    workspace.run("--allow-expired")
    good = workspace.lock.read_text(encoding="utf-8")
    (release,) = read_lock(workspace.lock).releases
    for old, new, cause in (
        (release.date, "20200102T000000Z", "something other than packages"),
        (
            release.sha256,
            "0" * 64,
            f"SHA256 is {release.sha256}, the lock was made from {'0' * 64}",
        ),
        (
            '"suite": "bookworm"',
            '"suite": "trixie"',
            "does not record the index of debian bookworm",
        ),
    ):
        assert old in good
        workspace.lock.write_text(good.replace(old, new), encoding="utf-8")
        capsys.readouterr()
        assert workspace.run("--verify") == 1
        assert cause in "".join(capsys.readouterr())


def test_a_lock_is_verified_from_the_permanent_archive_when_mirrors_have_moved_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace.run("--allow-expired")
    workspace.serve("old")
    monkeypatch.setattr(lockfile, "_SNAPSHOT", (tmp_path / "permanent").as_uri())
    assert workspace.run("--verify") == 1
    shutil.copytree(TESTDATA / "archive", tmp_path / "permanent/debian/20200101T060000Z")
    assert workspace.run("--verify") == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"excluded_versions": None}, "is not a lock: excluded_versions is None"),
        ({"mtime": "1"}, "is not a lock: mtime is '1'"),
        ({"image_groups": [1]}, "is not a lock: image_groups is 1"),
        ({"excluded_packages": {"a": []}}, r"is not a lock: excluded_packages is \[\]"),
    ],
)
def test_a_lock_with_a_member_of_another_type_is_refused(
    change: dict[str, object], message: str
) -> None:
    members: dict[str, object] = dict.fromkeys(("snapshot", "intent_sha256"), "")
    members |= {name: {} for name in ("groups", "excluded_packages", "excluded_versions")}
    members |= {name: [] for name in ("image_groups", "packages", "excluded_paths")}
    with pytest.raises(ToolError, match=message):
        decode(json.dumps(members | {"version": 1, "mtime": 1} | change))


def test_what_the_suites_offer_is_written_beside_the_lock_and_refreshed_alone(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    offers = workspace.lock.with_name("x.available.json")
    flags = ("--allow-expired", "--available", offers.name)
    assert "--refresh: there is no lock" in _refused_refresh(workspace, capsys, *flags)
    assert workspace.run(*flags) == 0
    written = offers.read_bytes()
    found = read_available(offers)
    assert found.releases == read_lock(workspace.lock).releases
    assert found.newest("library", arch="arm64") == ("1.10-1", "debian bookworm")
    offers.unlink()
    before = workspace.lock.read_bytes()
    assert workspace.run(*flags, "--refresh") == 0
    assert offers.read_bytes() == written
    assert workspace.lock.read_bytes() == before
    assert "x.available.json: what the signed indexes offer: debian" in capsys.readouterr().out
    assert "writes the file of --available" in _refused_refresh(workspace, capsys, flags[0])
    workspace.serve("old")
    assert "the mirror has only that of 2019" in _refused_refresh(workspace, capsys, *flags)
    assert offers.read_bytes() == written


def _refused_refresh(workspace: Workspace, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert workspace.run(*flags, "--refresh") == 1
    return capsys.readouterr().err


def test_a_version_that_was_kept_is_told_when_the_lock_is_verified(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    workspace.run("--allow-expired")
    deb = write_deb(tmp_path, "library", version="1.9-1")
    (workspace.mirror / "pool/main").mkdir(parents=True)
    shutil.copy(deb, workspace.mirror / "pool/main/kept.deb")
    content = deb.read_bytes()
    lock = read_lock(workspace.lock)
    packages = tuple(
        replace(
            each,
            version="1.9-1",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            filename="pool/main/kept.deb",
            snapshot="20190701T120000Z",
        )
        if each.name == "library" and each.arch == "amd64"
        else each
        for each in lock.packages
    )
    workspace.lock.write_text(encode(replace(lock, packages=packages)), encoding="utf-8")
    capsys.readouterr()
    assert workspace.run("--verify") == 1
    output = capsys.readouterr()
    assert "library (amd64) was kept at 1.9-1, 1.10-1 is there" in output.out
    assert "x.lock.json: library: kept from before the indexes that the lock names" in output.err


def _record_flags(workspace: Workspace) -> list[str]:
    debs = [str(path.resolve()) for path in apt_debs()]
    return ["--allow-expired", "--record", "x.apt.json", "--apt-debs", *debs]


def test_what_apt_chooses_is_recorded_with_the_lock(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = _record_flags(workspace)
    path = workspace.lock.with_name("x.apt.json")
    assert workspace.run(*flags) == 0
    record = read_record(path)
    assert record.snapshot == read_lock(workspace.lock).snapshot
    versions = {"application": "2.0-1", "helper": "1", "library": "1.10-1"}
    assert record.chosen == {"amd64": versions, "arm64": versions}
    # Asked again only where the record is not of this lock.
    text = path.read_bytes()
    assert workspace.run(*flags[:3], "--apt-debs", "nowhere.deb") == 0
    path.write_text("damaged", encoding="utf-8")
    assert workspace.run(*flags) == 0
    assert path.read_bytes() == text


def test_lock_that_apt_would_not_choose_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = _record_flags(workspace)

    def other(*args: Any, **kwargs: Any) -> Record:
        record = ask_apt(*args, **kwargs)
        chosen = {arch: {**names, "library": "9"} for arch, names in record.chosen.items()}
        return replace(record, chosen=chosen)

    monkeypatch.setattr(lock_command, "ask_apt", other)
    message = _refusal(workspace, capsys, *flags)
    assert "apt itself would choose otherwise:\n  amd64: library: the lock has 1.10-1" in message
    assert not workspace.lock.with_name("x.apt.json").exists()


def test_update_without_a_newer_package_leaves_the_lock_as_it_is(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.run("--allow-expired")
    made = read_lock(workspace.lock)
    (release,) = made.releases
    earlier = replace(release, date="20191201T000000Z", sha256="0" * 64)
    text = encode(replace(made, snapshot="20191201T120000Z", releases=(earlier,)))
    workspace.lock.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert workspace.run("--allow-expired", "--update") == 0
    assert capsys.readouterr().out == "x.lock.json is up to date\n"
    assert workspace.lock.read_text(encoding="utf-8") == text
    assert workspace.run("--allow-expired") == 0
    assert read_lock(workspace.lock) == made
