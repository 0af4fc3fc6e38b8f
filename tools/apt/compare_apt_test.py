from pathlib import Path

import pytest

from tools.apt.compare_apt import Record, differences, encode, main, parse_simulation, read_record
from tools.apt.index import Suite
from tools.apt.intent import Group, Intent
from tools.apt.lockfile import Lock, LockedPackage
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
        " ask it again"
    )


def test_a_record_for_other_requests_says_to_ask_again() -> None:
    lock = _lock({"app": "2"}, {})
    (found,) = differences(_record({"app": "2"}), lock=lock, intent=_intent("app", "more"))
    assert found.endswith("than the intent names; ask it again")


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
    path.write_text(encode(record), encoding="utf-8")
    assert read_record(path) == record


def test_a_record_that_is_invalid_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ToolError, match=r"record\.json: .*ask apt again with the target"):
        read_record(path)


def test_a_failure_leaves_the_old_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "record.json"
    record.write_text("old", encoding="utf-8")
    flags = ["--intent", f"{tmp_path}/none.yaml", "--lock", "x", "--record", str(record)]
    assert main(flags) == 1
    assert "none.yaml" in capsys.readouterr().err
    assert record.read_text(encoding="utf-8") == "old"
