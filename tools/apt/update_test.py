"""An update on archives made in the test, with real .deb files on a mirror of files."""

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tools.apt.available import Available, available, encode_available, read_available
from tools.apt.index import Package, Release, Suite
from tools.apt.intent import Group, Intent
from tools.apt.lock import Archive, make_lock, refuse_older_indexes
from tools.apt.lockfile import Lock, LockedRelease, decode, encode
from tools.apt.packages_for_test import package
from tools.apt.update import Debs, keep_versions, moving, rows, table
from tools.archive import debs_for_test as debs
from tools.cli import ToolError

_DATE = "20200101T000000Z"
_INTENT = Intent(
    suites=(),
    architectures=("amd64",),
    timestamp=0,
    image=(Group("base", {"app": "why"}, {}),),
    tools=(Group("browser", {"driver": "why"}, {"desktop": "not needed"}),),
    exclude_packages={},
    exclude_paths=(),
    sha256="digest",
)
_CHANGELOG = """\
lib (2) bookworm-security; urgency=high

  * CVE-2026-1000 and CVE-2025-9999: mended.

lib (1) bookworm; urgency=low

  * CVE-2024-1111
"""


class _Mirror:
    """A mirror of files; `add` writes a .deb and returns its record."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "pool").mkdir(parents=True)

    def add(
        self,
        name: str,
        version: str,
        *,
        source: str = "",
        archive: str = "debian",
        changelog: str = "",
        **relations: str,
    ) -> Package:
        document = f"./usr/share/doc/{name}/changelog.Debian.gz"
        members = [debs.TarMember(document, gzip.compress(changelog.encode()))] if changelog else []
        fields = "".join(f"{key.capitalize()}: {value}\n" for key, value in relations.items())
        control = debs.control(name, version=version).decode() + fields
        path = debs.write_deb(
            self.directory / "pool",
            name,
            members,
            version=version,
            files={"control": control.encode()},
        )
        content = path.read_bytes()
        record = package(name, version, archive=archive, **relations)
        return replace(
            record,
            filename=f"pool/{path.name}",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            source=source or name,
            suite=f"{archive} bookworm{'-security' if archive != 'debian' else ''}",
        )

    def debs(self, scratch: Path) -> Debs:
        mirrors = {name: [self.directory.as_uri()] for name in ("debian", "debian-security")}
        scratch.mkdir(exist_ok=True)
        return Debs(scratch, mirrors=mirrors, snapshot=_DATE)


def _archive(*packages: Package) -> Archive:
    release = LockedRelease("debian", "bookworm", _DATE, "0" * 64)
    suite = Suite(archive="debian", name="bookworm")
    found = Release(suite, release.moment, valid_until=None, by_hash=False, files={})
    return Archive(releases=(found,), packages={"amd64": packages})


def _lock(*packages: Package) -> Lock:
    return make_lock(_INTENT, archive=_archive(*packages))


@pytest.fixture
def mirror(tmp_path: Path) -> _Mirror:
    return _Mirror(tmp_path / "mirror")


def _old(mirror: _Mirror) -> tuple[Package, ...]:
    """An application with a library, and a browser whose desktop is left out."""
    return (
        mirror.add("app", "1", depends="lib"),
        mirror.add("lib", "1"),
        mirror.add("driver", "1", source="browser", depends="common (= 1), desktop (= 1)"),
        mirror.add("common", "1", source="browser"),
        mirror.add("desktop", "1", source="browser", depends="common (= 1)"),
    )


def _new(mirror: _Mirror) -> tuple[Package, ...]:
    return (
        mirror.add("app", "2", depends="lib"),
        mirror.add("lib", "2", archive="debian-security", changelog=_CHANGELOG),
        mirror.add("driver", "2", source="browser", depends="common (= 2), desktop (= 2)"),
        mirror.add("common", "2", source="browser"),
        mirror.add("desktop", "2", source="browser", depends="common (= 2)"),
    )


def test_a_table_names_what_moves_and_the_cves_of_the_new_versions_own_changelog(
    mirror: _Mirror, tmp_path: Path
) -> None:
    old, packages = _lock(*_old(mirror)), _new(mirror)
    new = _lock(*packages)
    found = rows(old, new, packages={"amd64": packages}, fetch=mirror.debs(tmp_path / "d").fetch)
    lib = next(row for row in found if row.name == "lib")
    assert (lib.old, lib.new, lib.suite) == ("1", "2", "debian-security bookworm-security")
    assert (lib.security, lib.image, lib.cves) == (True, True, ("CVE-2025-9999", "CVE-2026-1000"))
    driver = next(row for row in found if row.name == "driver")
    assert (driver.security, driver.image, driver.cves) == (False, False, None)
    lines = [line.split() for line in table(found, markdown=False)]
    assert [line[0] for line in lines] == ["package", "lib", "app", "common", "driver"]
    assert lines[1][-3:] == ["image", "CVE-2025-9999", "CVE-2026-1000"]
    assert lines[3][-3:] == ["changelog", "not", "known"]
    marked = list(table(found, markdown=True))
    assert marked[2].startswith("| lib (amd64) | 1 → 2 | debian-security bookworm-security | yes |")
    assert marked[2].endswith("| image | CVE-2025-9999 CVE-2026-1000 |")


def test_in_a_terminal_a_long_list_of_cves_is_cut(mirror: _Mirror, tmp_path: Path) -> None:
    names = " ".join(f"CVE-2026-{number}" for number in range(1010, 1030))
    changelog = f"lib (2) x; urgency=high\n\n  * {names}\n"
    packages = (mirror.add("app", "1", depends="lib"), mirror.add("lib", "2", changelog=changelog))
    intent = replace(_INTENT, tools=())
    old = make_lock(intent, archive=_archive(packages[0], mirror.add("lib", "1")))
    new = make_lock(intent, archive=_archive(*packages))
    found = rows(old, new, packages={"amd64": packages}, fetch=mirror.debs(tmp_path / "d").fetch)
    assert [*table(found, markdown=False)][1].endswith("CVE-2026-1017 and 12 more")
    assert [*table(found, markdown=True)][2].endswith("CVE-2026-1029 |")


def test_what_comes_and_goes_is_in_the_table(mirror: _Mirror, tmp_path: Path) -> None:
    before = (mirror.add("app", "1", depends="lib"), mirror.add("lib", "1"))
    after = (mirror.add("app", "1", depends="other"), mirror.add("other", "3"))
    intent = replace(_INTENT, tools=())
    old = make_lock(intent, archive=_archive(*before))
    new = make_lock(intent, archive=_archive(*after))
    found = rows(old, new, packages={"amd64": after}, fetch=mirror.debs(tmp_path / "d").fetch)
    assert [(row.name, row.old, row.new, row.growth > 0) for row in found] == [
        ("lib", "1", None, False),
        ("other", None, "3", True),
    ]


def test_packages_of_one_source_move_together_and_others_stay(
    mirror: _Mirror, tmp_path: Path
) -> None:
    old, archive = _lock(*_old(mirror)), _archive(*_new(mirror))
    fetch = mirror.debs(tmp_path / "d").fetch
    moves = moving(old, ["common"], requested=["app", "driver"])
    assert moves == {"common", "driver"}
    kept = keep_versions(archive.packages, old, moves=moves, fetch=fetch)
    new = make_lock(_INTENT, archive=replace(archive, packages=kept))
    assert {(each.name, each.version) for each in new.packages} == {
        ("app", "1"),
        ("lib", "1"),
        ("common", "2"),
        ("driver", "2"),
    }
    # The archive no longer has what stays, so the lock says where it was.
    assert {each.name for each in new.packages if each.snapshot == old.snapshot} == {"app", "lib"}
    assert decode(encode(new)) == new
    assert '"snapshot": ""' not in encode(new)


def test_what_stays_may_need_what_its_group_leaves_out(mirror: _Mirror, tmp_path: Path) -> None:
    old, archive = _lock(*_old(mirror)), _archive(*_new(mirror))
    fetch = mirror.debs(tmp_path / "d").fetch
    moves = moving(old, ["lib"], requested=[])
    kept = keep_versions(archive.packages, old, moves=moves, fetch=fetch)
    new = make_lock(_INTENT, archive=replace(archive, packages=kept))
    assert {(each.name, each.version) for each in new.packages} == {
        ("app", "1"),
        ("lib", "2"),
        ("common", "1"),
        ("driver", "1"),
    }


def test_an_unknown_name_is_refused(mirror: _Mirror) -> None:
    with pytest.raises(ToolError, match="--update: libb, y: neither a package nor a source"):
        moving(_lock(*_old(mirror)), ["libb", "browser", "y"], requested=["app"])


def test_a_version_that_no_mirror_has_cannot_stay(mirror: _Mirror, tmp_path: Path) -> None:
    old, archive = _lock(*_old(mirror)), _archive(*_new(mirror))
    (mirror.directory / "pool/app_1_amd64.deb").unlink()
    debs_here = mirror.debs(tmp_path / "d")
    moves = moving(old, ["lib"], requested=[])
    with pytest.raises(
        ToolError, match=r"app \(amd64\) is to stay at 1, (.|\n)*let it move: --update app"
    ):
        keep_versions(archive.packages, old, moves=moves, fetch=debs_here.fetch)


def test_another_file_under_a_packages_name_is_refused(mirror: _Mirror, tmp_path: Path) -> None:
    record = mirror.add("app", "1")
    path = mirror.directory / record.filename
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(ToolError, match=f"SHA256 is [0-9a-f]*, not {record.sha256}"):
        mirror.debs(tmp_path / "d").fetch(record)


def _offers() -> Available:
    security = "debian-security bookworm-security"
    packages = [
        replace(package("lib", "1"), suite="debian bookworm"),
        replace(package("lib", "1.1"), suite="debian bookworm"),
        replace(package("lib", "1.1"), suite=security),
        replace(package("other", "3"), suite=security),
    ]
    wanted = [("lib", "amd64"), ("gone", "amd64")]
    return available(wanted, releases=_archive().releases, packages={"amd64": packages})


def test_the_newest_version_of_each_wanted_package_is_kept_by_suite(tmp_path: Path) -> None:
    found = _offers()
    assert found.offers == {
        "amd64": {"lib": {"debian bookworm": "1.1", "debian-security bookworm-security": "1.1"}}
    }
    assert found.newest("lib", arch="amd64") == ("1.1", "debian-security bookworm-security")
    assert found.newest("gone", arch="amd64") is None
    path = tmp_path / "available.json"
    path.write_text(encode_available(found), encoding="utf-8")
    assert read_available(path) == found


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('"version": 1', '"version": 2', "is of version 2, wanted 1"),
        ('"releases"', '"release"', "is not what the suites offer: KeyError"),
        (_DATE, "2020-01-01", "does not match format"),
    ],
)
def test_a_damaged_file_of_offers_is_named(old: str, new: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "x.available.json"
    path.write_text(encode_available(_offers()).replace(old, new), encoding="utf-8")
    with pytest.raises(ToolError, match=f"x.available.json: .*{cause}"):
        read_available(path)


def test_an_index_that_went_back_is_refused() -> None:
    newer, older = (
        LockedRelease("debian", "bookworm", f"2020010{day}T000000Z", "") for day in (2, 1)
    )
    refuse_older_indexes([older], [newer])
    with pytest.raises(ToolError, match="from the index of 20200102T000000Z, the mirror has only"):
        refuse_older_indexes([newer], [older])
