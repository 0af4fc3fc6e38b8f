import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tools.apt import compare_apt
from tools.apt.compare_apt import (
    Record,
    ask_apt,
    differences,
    encode_record,
    parse_simulation,
    read_record,
)
from tools.apt.index import Suite
from tools.apt.intent import Group, Intent
from tools.apt.lockfile import Lock, LockedPackage
from tools.archive.debs_for_test import TarMember, directory, write_deb
from tools.cli import ToolError

_SNAPSHOT = "20200101T000000Z"


def _intent(*requested: str) -> Intent:
    return Intent(
        suites=(Suite(archive="debian", name="bookworm"),),
        architectures=("amd64",),
        timestamp=0,
        image=(Group("base", dict.fromkeys(requested, "why"), {}),),
        tools=(),
        exclude_packages={},
        exclude_paths=(),
        sha256="digest",
    )


def _lock(versions: dict[str, str], excluded: dict[str, str]) -> Lock:
    packages = tuple(
        LockedPackage(name, "amd64", version, "debian", "pool/x.deb", 1, "0" * 64, name, ())
        for name, version in versions.items()
    )
    return Lock(
        snapshot=_SNAPSHOT,
        mtime=0,
        intent_sha256="digest",
        image_groups=("base",),
        groups={"base": {"amd64": tuple(sorted(versions))}},
        packages=packages,
        excluded_packages=dict.fromkeys(excluded, "why"),
        excluded_versions={"amd64": excluded},
        excluded_paths=(),
    )


def _record(chosen: dict[str, str], *, snapshot: str = _SNAPSHOT) -> Record:
    return Record(snapshot=snapshot, requested=("app",), chosen={"amd64": chosen})


def test_image_and_exclusions_together_are_what_apt_chose() -> None:
    lock = _lock({"app": "2"}, {"perl": "5"})
    assert differences(_record({"app": "2", "perl": "5"}), lock=lock, intent=_intent("app")) == []


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"app": "2"}, "amd64: perl: the lock has 5, apt chose nothing"),
        ({"app": "1", "perl": "5"}, "amd64: app: the lock has 2, apt chose 1"),
        (
            {"app": "2", "perl": "5", "more": "3"},
            "amd64: more: the lock has nothing, apt chose 3",
        ),
    ],
)
def test_every_difference_is_named(chosen: dict[str, str], expected: str) -> None:
    lock = _lock({"app": "2"}, {"perl": "5"})
    assert differences(_record(chosen), lock=lock, intent=_intent("app")) == [expected]


def test_a_package_that_is_in_the_image_and_excluded_is_named() -> None:
    lock = _lock({"app": "2"}, {"app": "2"})
    found = differences(_record({"app": "2"}), lock=lock, intent=_intent("app"))
    assert found == ["amd64: app is both in the image and excluded"]


def test_a_record_of_another_snapshot_says_to_ask_again() -> None:
    record = _record({"app": "2"}, snapshot="20190101T000000Z")
    (found,) = differences(record, lock=_lock({"app": "2"}, {}), intent=_intent("app"))
    assert found == (
        "apt was asked about the archive of 20190101T000000Z, the lock is of 20200101T000000Z;"
        " lock again"
    )


def test_a_record_for_other_requests_says_to_ask_again() -> None:
    lock = _lock({"app": "2"}, {})
    (found,) = differences(_record({"app": "2"}), lock=lock, intent=_intent("app", "more"))
    assert found.endswith("than the intent names; lock again")


def test_an_architecture_that_apt_was_not_asked_about_is_a_difference() -> None:
    record = Record(snapshot=_SNAPSHOT, requested=("app",), chosen={})
    found = differences(record, lock=_lock({"app": "2"}, {}), intent=_intent("app"))
    assert found == ["amd64: app: the lock has 2, apt chose nothing"]


def test_lines_of_a_simulation_are_read_whatever_follows_them() -> None:
    output = (
        "Reading package lists...\n"
        "Inst libc6 (2.36-9 Debian:12.15/oldstable [amd64]) []\n"
        "Inst libgcc-s1 (12.2 Debian:12/x, Debian:12/y [amd64]) [libc6:amd64 ]\n"
        "Inst tzdata (2026a-1 Debian:12 [all])\n"
        "Conf libc6 (2.36-9 Debian:12.15/oldstable [amd64])\n"
    )
    assert parse_simulation(output) == {"libc6": "2.36-9", "libgcc-s1": "12.2", "tzdata": "2026a-1"}


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("Inst libc6\n", "apt-get said 'Inst libc6', wanted: Inst NAME (VERSION …)"),
        ("Inst libc6 [1] (2 Debian [amd64])\n", "apt-get said 'Inst libc6 [1]"),
        ("0 upgraded\n", "apt-get would install nothing at all"),
    ],
)
def test_a_simulation_that_cannot_be_read_is_refused(output: str, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse_simulation(output)
    assert message in str(caught.value)


def test_a_record_survives_being_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = _record({"app": "2"})
    path.write_text(encode_record(record), encoding="utf-8")
    assert read_record(path) == record


def test_a_record_that_is_invalid_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ToolError, match=r"record\.json: .*make it anew with the lock target"):
        read_record(path)


def test_version_that_an_update_kept_is_no_difference() -> None:
    lock = _lock({"app": "2"}, {"perl": "5"})
    record = replace(_record({"app": "3", "perl": "5"}), kept={"amd64": {"app": "2"}})
    assert differences(record, lock=lock, intent=_intent("app")) == []
    record = replace(record, kept={"amd64": {"app": "1"}})
    assert differences(record, lock=lock, intent=_intent("app")) == [
        "amd64: app: was kept at 1 when apt was asked; lock again",
        "amd64: app: the lock has 2, apt chose 3",
    ]


def test_packages_without_apt_are_named(tmp_path: Path) -> None:
    deb = write_deb(tmp_path, "x")
    with pytest.raises(ToolError, match=r"no usr/bin/apt-get in: x_1\.0_amd64\.deb"):
        ask_apt(_intent("app"), indexes=[], snapshot=_SNAPSHOT, debs=[deb])
    deb.write_bytes(b"damaged")
    with pytest.raises(ToolError, match=r"x_1\.0_amd64\.deb: "):
        ask_apt(_intent("app"), indexes=[], snapshot=_SNAPSHOT, debs=[deb])


def test_apt_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"apt-get cannot be started: .*Exec format error"):
        ask_apt(_intent("app"), indexes=[], snapshot=_SNAPSHOT, debs=[_apt_get(tmp_path)])


def _apt_get(tmp_path: Path) -> Path:
    members = [TarMember("./usr/bin/apt-get", b"\x7fELF", mode=0o755)]
    return write_deb(tmp_path, "x", [directory("./usr"), directory("./usr/bin"), *members])


def test_machine_without_user_namespaces_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(compare_apt, "unshare_as", refuse)
    with pytest.raises(ToolError, match=r"failed:\nno user namespace: .*Operation not permitted"):
        ask_apt(_intent("app"), indexes=[], snapshot=_SNAPSHOT, debs=[_apt_get(tmp_path)])


def test_apt_that_never_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def expire(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", expire)
    with pytest.raises(ToolError, match="apt-get timed out after 600 s"):
        ask_apt(_intent("app"), indexes=[], snapshot=_SNAPSHOT, debs=[_apt_get(tmp_path)])
