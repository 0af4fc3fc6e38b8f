"""The audit of an image made in the test, from real lock files, .deb files and statements."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tools.apt.available import Available, encode_available
from tools.apt.lockfile import Lock, LockedPackage, LockedRelease, encode
from tools.archive import debs_for_test as debs
from tools.audit import findings
from tools.audit.audit import CANNOT, main
from tools.audit.end_of_life import Series
from tools.audit.support import package_findings, read_support
from tools.cli import ToolError
from tools.sbom.component import Component, write_components
from tools.wheels.lockfile import LockedWheel, render_lock

_RELEASES = tuple(
    LockedRelease(archive, suite, "20261125T020000Z", "0" * 64)
    for archive, suite in (("debian", "bookworm"), ("debian-security", "bookworm-security"))
)
_ENDED = b"""\
# source, last version, day, reason
mbedtls  2.16  2026-06-12  difficult to support
later    1     2027-01-01
php8.*   0     2025-03-22  incompatible
"""
_LIMITED = b"rust.*  see the release notes\n"
_DISTRO = b"""\
version,codename,series,created,release,eol,eol-lts,eol-elts
12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30,2033-06-30
14,Forky,forky,2025-08-09
"""
_TABLE = """\
python:
  - {series: "3.11", ends: 2027-10-31, source: PEP 664}
openssl:
  - {series: 1.1.1, ends: 2023-09-11, source: its makers}
"""
_TEST = "tests/io_test.py::test_nothing_is_called"
_TODAY = "2026-11-27"


def _package(name: str, version: str, *, arch: str = "amd64", source: str = "") -> LockedPackage:
    return LockedPackage(
        name=name,
        arch=arch,
        version=version,
        archive="debian",
        filename=f"pool/{name}.deb",
        size=1,
        sha256="0" * 64,
        source=source or name,
        depends=(),
    )


def _statement(cve: str, part: str, **fields: Any) -> dict[str, Any]:
    return {
        "vulnerability": {"name": cve},
        "products": [{"@id": "pkg:pypi/opencv", "subcomponents": [{"@id": part}]}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
        "status_notes": f"Tested by {_TEST}",
        **fields,
    }


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://example.org/vex",
        "author": "A Tester",
        "timestamp": "2026-11-27T00:00:00Z",
        "version": 1,
        "statements": list(statements),
    }


class _World:
    """The files of an audit; a test changes some and then runs it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.packages = [
            _package(name, version, arch=arch, source=source)
            for arch in ("amd64", "arm64")
            for name, version, source in (
                ("libc6", "2.36-9+deb12u13", "glibc"),
                ("libmbedcrypto7", "2.28.3-1", "mbedtls"),
                ("libphp", "8.2-1+b1", "php8.2"),
                ("librav1e0", "0.5.1-6", "rust-rav1e"),
                ("python3.11", "3.11.2-6+deb12u7", "python3.11"),
            )
        ]
        self.offers: dict[str, dict[str, str]] = {
            package.name: {"debian bookworm": package.version} for package in self.packages
        }
        self.releases = _RELEASES
        self.parts = [
            ("ffmpeg", "8.1.1", "pkg:generic/ffmpeg@8.1.1", None),
            (
                "openssl-libs",
                "1.1.1k-15.el8_6",
                "pkg:rpm/almalinux/openssl-libs@1.1.1k-15.el8_6",
                "cpe:2.3:a:openssl:openssl:1.1.1k:*:*:*:*:*:*:*",
            ),
            ("regex", "1.13.1", "pkg:cargo/regex@1.13.1", None),
        ]
        self.statements = [_statement("CVE-2026-1", "pkg:generic/ffmpeg@8.1.1")]
        self.table = _TABLE
        self.tests = {_TEST.partition("::")[0]: "def test_nothing_is_called(): ..."}

    def write(self) -> list[str]:
        """Write the files and return the arguments that name them."""
        here = self.directory
        lock = Lock(
            snapshot="20261125T140000Z",
            mtime=0,
            intent_sha256="",
            image_groups=("base",),
            groups={
                "base": {
                    arch: tuple(each.name for each in self.packages if each.arch == arch)
                    for arch in ("amd64", "arm64")
                }
            },
            packages=tuple(self.packages),
            excluded_packages={},
            excluded_versions={},
            excluded_paths=(),
            command="bazel run //:lock",
            releases=_RELEASES,
        )
        offers = dict.fromkeys(("amd64", "arm64"), self.offers)
        wheel = LockedWheel("opencv", "5.0", (), "opencv-5.0-py3-none-any.whl", "0" * 64, ("x",))
        python_lock = render_lock((wheel,), title="wheels", command="lock")
        components = [
            Component(
                f"part-{name}", name, version, purl, cpe=cpe, parent="pypi-opencv", files=("x",)
            )
            for name, version, purl, cpe in self.parts
        ]
        components.append(Component("deb-libphp", "libphp", "8.2-1+b1", source="php8.2 8.2-1"))
        for name, content in {
            "lock.json": encode(lock),
            "available.json": encode_available(Available(self.releases, offers)),
            "wheels.txt": python_lock,
            "components.json": write_components(components).decode(),
            "eol.yaml": self.table,
            "vex.json": json.dumps(_document(*self.statements)),
            **{f"root/{path}": text for path, text in self.tests.items()},
        }.items():
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        directory = "./usr/share/debian-security-support/security-support"
        lists = [
            debs.TarMember(f"{directory}-ended.deb12", _ENDED),
            debs.TarMember(f"{directory}-limited", _LIMITED),
        ]
        dates = [debs.TarMember("./usr/share/distro-info/debian.csv", _DISTRO)]
        support = [
            str(debs.write_deb(here, name, members))
            for name, members in (("debian-security-support", lists), ("distro-info-data", dates))
        ]

        def named(name: str) -> dict[str, str]:
            return {"file": str(here / name), "name": name}

        target = {
            "available": named("available.json"),
            "components": {arch: [str(here / "components.json")] for arch in ("amd64", "arm64")},
            "debian_lock": named("lock.json"),
            "end_of_life": named("eol.yaml"),
            "groups": [],
            "name": "//:audit",
            "python_locks": {arch: named("wheels.txt") for arch in ("amd64", "arm64")},
            "support": support,
            "vex": [named("vex.json")],
            "workspace": str(here / "root"),
        }
        (here / "target.json").write_text(json.dumps(target), encoding="utf-8")
        return ["--target", str(here / "target.json"), "--date", _TODAY]


@pytest.fixture
def world(tmp_path: Path) -> _World:
    return _World(tmp_path)


def _findings(
    world: _World, capsys: pytest.CaptureFixture[str], *arguments: str
) -> dict[str, dict[str, Any]]:
    assert main([*world.write(), "--format", "json", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    return {
        ":".join(filter(None, (each["kind"], each["component"]["name"], each["id"]))): each
        for each in report["findings"]
    }


def _refusal(world: _World, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*world.write(), *arguments]) == CANNOT
    return capsys.readouterr().err


def test_support_is_judged_by_debians_own_lists_on_a_day(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.packages.append(_package("liblater1", "1", source="later"))
    found = _findings(world, capsys)
    assert {key: (each["severity"], each["text"]) for key, each in found.items()} == {
        "support-ended:libmbedcrypto7": (
            "medium",
            "source mbedtls: no security support since 2026-06-12: difficult to support",
        ),
        "support-ended:libphp": (
            "medium",
            "source php8.2: no security support since 2025-03-22: incompatible",
        ),
        "support-limited:librav1e0": (
            "low",
            "source rust-rav1e: limited support: see the release notes",
        ),
        "end-of-life:debian": (
            "low",
            "regular support ended on 2026-07-11; long-term support until 2028-06-30",
        ),
        "end-of-life:openssl-libs": (
            "medium",
            "openssl 1.1.1 had support until 2023-09-11 (its makers)",
        ),
    }
    assert found["support-ended:libphp"]["architectures"] == ["amd64", "arm64"]
    later = _findings(world, capsys, "--date", "2028-07-01")
    assert later["support-ended:liblater1"]["architectures"] == ["amd64"]
    assert later["end-of-life:debian"]["severity"] == "high"
    assert (
        later["end-of-life:python"]["text"] == "python 3.11 had support until 2027-10-31 (PEP 664)"
    )
    soon = _findings(world, capsys, "--date", "2027-06-01")
    assert soon["end-of-life-soon:python"]["severity"] == "low"


def test_a_newer_version_counts_more_in_a_security_suite(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.offers["libc6"]["debian-security bookworm-security"] = "2.36-9+deb12u14"
    world.offers["librav1e0"]["debian bookworm"] = "0.5.1-7"
    found = _findings(world, capsys)
    update = found["security-update:libc6"]
    assert update["severity"] == "high"
    assert update["text"] == "debian-security bookworm-security has 2.36-9+deb12u14"
    assert update["next_step"] == "lock again with --update glibc"
    assert found["update:librav1e0"]["severity"] == "low"
    assert main([*world.write(), "--fail-on", "high"]) == 1
    assert main([*world.write(), "--fail-on", "critical"]) == 0


def test_the_text_says_what_the_audit_rests_on_and_does_not_know(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*world.write(), "--date", "2026-12-24"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "//:audit: 3 medium, 2 low"
    assert (
        "  medium   openssl-libs 1.1.1k-15.el8_6 in opencv (amd64, arm64): openssl 1.1.1 had"
        " support until 2023-09-11 (its makers)"
    ) in lines
    assert "           → take a newer opencv" in lines
    assert "  vex.json" in lines
    assert lines[-3:] == [
        (
            "note: the newest index is of 2026-11-25, 29 days ago; look again with:"
            " bazel run //:lock -- --refresh"
        ),
        "note: the table has no end of life of: ffmpeg 8.1.1",
        "note: without --tracker nothing is said of known vulnerabilities",
    ]


def _tracker(world: _World, data: Any) -> str:
    path = world.directory / "tracker.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return str(path)


def test_debians_tracker_is_compared_with_source_versions(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    def issue(status: str, **fields: str) -> dict[str, Any]:
        state = {"status": status, "urgency": "high", **fields}
        return {"description": "a flaw", "releases": {"bookworm": state}}

    data = {
        "glibc": {
            "CVE-2026-2": issue("resolved", fixed_version="2.36-9+deb12u13"),
            "CVE-2026-3": issue("resolved", fixed_version="2.36-9+deb12u14"),
            "CVE-2026-4": issue("resolved", fixed_version="0"),
            "CVE-2026-5": issue("open", urgency="not yet assigned", nodsa="Minor issue"),
            "CVE-2026-6": issue("undetermined", urgency="unimportant"),
            "CVE-2026-7": {"releases": {"trixie": {"status": "open"}}},
        },
        # The package was rebuilt, its source was not: 8.2-1 has the fix.
        "php8.2": {"CVE-2026-8": issue("resolved", fixed_version="8.2-1")},
    }
    path = _tracker(world, data)
    found = _findings(world, capsys, "--tracker", path)
    assert {
        each["id"]: (each["severity"], each["text"])
        for each in found.values()
        if each["kind"] == "vulnerability"
    } == {
        "CVE-2026-3": ("high", "fixed in 2.36-9+deb12u14: a flaw"),
        "CVE-2026-5": ("unknown", "not fixed in the suite (Minor issue): a flaw"),
        "CVE-2026-6": ("note", "the tracker says 'undetermined': a flaw"),
    }
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert main([*world.write(), "--tracker", path, "--tracker-sha256", digest]) == 0
    assert f"tracker.json: sha256:{digest}" in capsys.readouterr().out
    refusal = _refusal(world, capsys, "--tracker", path, "--tracker-sha256", "0" * 64)
    assert f"SHA256 is {digest}, --tracker-sha256 is {'0' * 64}; use the file that" in refusal


def _osv(identifier: str, package: dict[str, str], *events: dict[str, str], **fields: Any) -> Any:
    span = {"type": fields.pop("type", "ECOSYSTEM"), "events": list(events)}
    affected = {"package": package, "ranges": [span] if events else [], **fields}
    return {"id": identifier, "summary": "a flaw", "affected": [affected]}


_INTRODUCED = {"introduced": "0"}
_PYPI = {"ecosystem": "PyPI", "name": "OpenCV"}
_CRATE = {"ecosystem": "crates.io", "name": "regex"}
_RPM = {
    "ecosystem": "AlmaLinux:8",
    "name": "openssl-libs",
    "purl": "pkg:rpm/almalinux/openssl-libs",
}
_GENERIC = {"ecosystem": "OSS-Fuzz", "name": "ffmpeg", "purl": "pkg:generic/ffmpeg"}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            _osv("DSA-1", {"ecosystem": "Debian:12", "name": "glibc"}, _INTRODUCED),
            ("libc6", "no fix is stated"),
        ),
        (_osv("DSA-1", {"ecosystem": "Debian:13", "name": "glibc"}, _INTRODUCED), None),
        (
            _osv("DSA-1", {"ecosystem": "Debian", "name": "glibc"}, _INTRODUCED, {"fixed": "9"}),
            ("libc6", "fixed in 9"),
        ),
        (_osv("A", _PYPI, _INTRODUCED, {"fixed": "5.0.1"}), ("opencv", "fixed in 5.0.1")),
        (_osv("A", _PYPI, _INTRODUCED, {"fixed": "5.0rc1"}), None),
        (_osv("A", _PYPI, {"introduced": "6"}), None),
        (_osv("A", _PYPI, _INTRODUCED, {"last_affected": "4.9"}), None),
        (_osv("A", _PYPI, _INTRODUCED, {"last_affected": "5"}), ("opencv", "no fix is stated")),
        (
            _osv("A", _PYPI, {"introduced": "4.9"}, {"fixed": "6"}, _INTRODUCED, {"fixed": "3"}),
            ("opencv", "fixed in 6"),
        ),
        (_osv("A", _PYPI, versions=["5.0"]), ("opencv", "no fix is stated")),
        (_osv("A", _PYPI, versions=["5.0.0"]), None),
        (
            _osv("A", _CRATE, _INTRODUCED, {"fixed": "1.14.0"}, type="SEMVER"),
            ("regex", "fixed in 1.14.0"),
        ),
        (_osv("A", _CRATE, _INTRODUCED, type="GIT"), None),
        (_osv("A", _GENERIC, _INTRODUCED, {"fixed": "8.1.2"}), ("ffmpeg", "fixed in 8.1.2")),
        (_osv("A", {**_GENERIC, "purl": "pkg:generic/other/ffmpeg"}, _INTRODUCED), None),
        ({**_osv("A", _PYPI, _INTRODUCED), "withdrawn": "2026-01-01T00:00:00Z"}, None),
    ],
)
def test_records_of_osv_are_compared_as_their_ecosystem_does(
    record: Any,
    expected: tuple[str, str] | None,
    world: _World,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = _findings(world, capsys, "--tracker", _tracker(world, [record]))
    (*seen,) = [
        (each["component"]["name"], each["text"].partition(":")[0])
        for each in found.values()
        if each["kind"] == "vulnerability"
    ]
    assert seen == ([] if expected is None else [expected])


def test_osv_comes_as_a_record_an_answer_a_list_or_a_zip(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    record = {
        **_osv("GHSA-1", _PYPI, _INTRODUCED),
        "aliases": ["CVE-2026-9"],
        "database_specific": {"severity": "MODERATE"},
    }
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("GHSA-1.json", json.dumps(record))
    for content in (
        *(json.dumps(data).encode() for data in (record, [record], {"vulns": [record]})),
        zipped.getvalue(),
    ):
        path = world.directory / "osv"
        path.write_bytes(content)
        found = _findings(world, capsys, "--tracker", str(path))
        assert found["vulnerability:opencv:CVE-2026-9"]["severity"] == "medium"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"<html>", "Expecting value"),
        (b'{"glibc": ["CVE"]}', "'glibc': not issues of a source package"),
        (b'[{"summary": "x"}]', "a record without an id"),
        (b'[{"id": "A", "affected": ["x"]}]', "A: `affected` is not a list of records"),
        (b"3", "object has no attribute 'items'"),
        (b"PK", "File is not a zip file"),
    ],
)
def test_another_file_than_a_trackers_is_refused(
    content: bytes, cause: str, world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    path = world.directory / "tracker"
    path.write_bytes(content)
    refusal = _refusal(world, capsys, "--tracker", str(path))
    assert cause in refusal
    assert "wanted the JSON of Debian's security tracker, or OSV's" in refusal


def test_a_statement_answers_its_vulnerability_in_its_component_alone(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [
        _osv("CVE-2026-1", _GENERIC, _INTRODUCED, database_specific={"severity": "CRITICAL"}),
        _osv("CVE-2026-2", _GENERIC, _INTRODUCED, database_specific={"severity": "HIGH"}),
        _osv("CVE-2026-1", _CRATE, _INTRODUCED),
    ]
    records[2]["id"], records[2]["aliases"] = "RUSTSEC-1", ["CVE-2026-1"]
    path = _tracker(world, records)
    found = _findings(world, capsys, "--tracker", path)
    answered = {key: each["not_affected"] for key, each in found.items() if each["id"]}
    reason = "vulnerable_code_not_in_execute_path (vex.json)"
    assert answered == {
        "vulnerability:ffmpeg:CVE-2026-1": reason,
        "vulnerability:ffmpeg:CVE-2026-2": None,
        "vulnerability:regex:CVE-2026-1": None,
    }
    assert main([*world.write(), "--tracker", path, "--fail-on", "critical"]) == 0
    text = capsys.readouterr().out
    assert "not affected:\n  critical CVE-2026-1 ffmpeg 8.1.1 in opencv (amd64, arm64): " in text
    assert reason in text


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        (
            _statement("CVE-2026-1", "pkg:generic/ffmpeg@8.1.0"),
            "pkg:generic/ffmpeg@8.1.0 is not in the locks any more as a part of pkg:pypi/opencv",
        ),
        (
            {**_statement("CVE-2026-1", "x"), "products": [{"@id": "pkg:pypi/gone"}]},
            "pkg:pypi/gone is not in the locks any more; drop the statement",
        ),
        (
            _statement("CVE-2026-1", "pkg:generic/ffmpeg", status_notes="Somebody looked."),
            "status_notes names no test that proves it",
        ),
        (
            _statement("CVE-2026-1", "pkg:generic/ffmpeg", status_notes="tests/no_test.py::test_a"),
            "its test tests/no_test.py::test_a is gone",
        ),
        (
            _statement("CVE-2026-1", "pkg:generic/ffmpeg", status_notes="tests/io_test.py::test_b"),
            "its test tests/io_test.py::test_b is gone; write it again, or drop the statement",
        ),
        (
            _statement("CVE-2026-1", "pkg:generic/ffmpeg", justification=None),
            "not_affected without a justification or an impact_statement",
        ),
        (
            _statement("CVE-2026-1", "pkg:generic/ffmpeg", status="unaffected"),
            "is not OpenVEX as https://openvex.dev/ns/v0.2.0 has it: statements: 0: status",
        ),
        (
            _statement("CVE-2026-1", "pkg:generic/ffmpeg", note="x"),
            "statements: 0: note: Extra inputs are not permitted",
        ),
    ],
)
def test_a_statement_that_no_longer_holds_fails(
    statement: dict[str, Any],
    cause: str,
    world: _World,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.statements = [statement, {**statement, "vulnerability": {"name": "CVE-2026-2"}}]
    refusal = _refusal(world, capsys)
    assert cause in refusal
    assert "vex.json" in refusal


def test_a_problem_of_many_statements_is_said_once(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.tests = {}
    world.statements = [_statement(f"CVE-2026-{n}", "pkg:generic/ffmpeg") for n in range(3)]
    assert f"vex.json: CVE-2026-0 and 2 more: its test {_TEST} is gone" in _refusal(world, capsys)


def test_a_statement_about_a_test_to_come_needs_no_test(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    statement = _statement("CVE-2026-1", "pkg:generic/ffmpeg", status="under_investigation")
    world.statements = [{**statement, "status_notes": None, "justification": None}]
    record = _osv("CVE-2026-1", _GENERIC, _INTRODUCED)
    found = _findings(world, capsys, "--tracker", _tracker(world, [record]))
    assert found["vulnerability:ffmpeg:CVE-2026-1"]["not_affected"] is None


def test_a_distributions_record_is_about_its_upstream_cve(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {**_osv("ALPINE-CVE-2026-1", _GENERIC, _INTRODUCED), "upstream": ["CVE-2026-1"]}
    several = {**_osv("DSA-1-1", _GENERIC, _INTRODUCED), "upstream": ["CVE-2026-2", "CVE-2026-3"]}
    found = _findings(world, capsys, "--tracker", _tracker(world, [one, several]))
    assert found["vulnerability:ffmpeg:CVE-2026-1"]["not_affected"]
    assert "vulnerability:ffmpeg:DSA-1-1" in found


@pytest.mark.parametrize(
    ("fixed", "hit"), [("1:1.1.1k-16.el8_6", True), ("1:1.1.1k-15.el8_6", False), ("1.0", False)]
)
def test_versions_of_rpm_have_underscores_and_epochs(
    world: _World, capsys: pytest.CaptureFixture[str], fixed: str, hit: bool
) -> None:
    record = _osv("ALSA-2026:1", _RPM, _INTRODUCED, {"fixed": fixed})
    found = _findings(world, capsys, "--tracker", _tracker(world, [record]))
    assert ("vulnerability:openssl-libs:ALSA-2026:1" in found) is hit


@pytest.mark.parametrize(
    "data",
    [
        [_osv("CVE-2026-1", _GENERIC, {"introduced": "<none>"})],
        {
            "glibc": {
                "CVE-2026-1": {
                    "releases": {"bookworm": {"status": "resolved", "fixed_version": "<none>"}}
                }
            }
        },
    ],
)
def test_what_is_no_version_in_a_tracker_is_named(
    world: _World, capsys: pytest.CaptureFixture[str], data: Any
) -> None:
    said = _refusal(world, capsys, "--tracker", _tracker(world, data))
    assert re.search("--tracker: CVE-2026-1, on (ffmpeg|libc6): '<none>' is not a Debian ver", said)


def test_sarif_points_at_the_line_of_the_lock(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    record = _osv("CVE-2026-1", _GENERIC, _INTRODUCED)
    tracker = _tracker(world, [record])
    assert main([*world.write(), "--tracker", tracker, "--format", "sarif"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} == rules
    places = {}
    for result in run["results"]:
        ((place,), message) = result["locations"], result["message"]["text"]
        where = place["physicalLocation"]
        lines = (world.directory / where["artifactLocation"]["uri"]).read_text().splitlines()
        places[message.split()[0]] = (result["level"], lines[where["region"]["startLine"] - 1])
    assert places["libmbedcrypto7"] == ("warning", '      "name": "libmbedcrypto7",')
    assert places["openssl-libs"][1].startswith("opencv==5.0")
    answered = [result for result in run["results"] if "suppressions" in result]
    assert [result["message"]["text"].split()[0] for result in answered] == ["CVE-2026-1"]


def test_offers_older_than_the_lock_are_refused(
    world: _World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.releases = (LockedRelease("debian", "bookworm", "20261124T020000Z", "0" * 64),)
    assert (
        "debian bookworm: what the suite offers is of 20261124T020000Z, older than the lock"
        " (20261125T020000Z); run: bazel run //:lock -- --refresh"
    ) in _refusal(world, capsys)


def test_a_malformed_table_is_named(world: _World, capsys: pytest.CaptureFixture[str]) -> None:
    world.table = "openssl:\n  - {series: '3', ends: soon, source: x}\n"
    assert "eol.yaml: openssl: 0: ends: input should be a valid date" in _refusal(world, capsys)


def test_a_series_ends_where_its_number_does() -> None:
    series = Series(series="1.1.1", ends=date(2023, 9, 11), source="x")
    assert [series.has(version) for version in ("1.1.1", "1.1.1k", "1.1.1-2", "1.1.10", "1.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_packages_without_the_lists_and_damaged_lists_are_named(tmp_path: Path) -> None:
    other = debs.write_deb(tmp_path, "other", [])
    with pytest.raises(ToolError, match=r"no lists of debian-security-support .* in: other_1"):
        read_support([other])
    name = "./usr/share/debian-security-support/security-support-ended.deb12"
    damaged = debs.write_deb(tmp_path, "damaged", [debs.TarMember(name, b"mbedtls 2.16 soon\n")])
    with pytest.raises(ToolError, match=r"damaged_.*ended\.deb12: Invalid isoformat string"):
        read_support([damaged])


_LISTS_OF_13 = b"""\
# a comment
isc-dhcp   non-supported  4.4.3-P1-2  2023-07-05  its makers ended it
rust.*     limited  see the release notes
rust-sqv   supported  fully
"""


def test_lists_as_debian_13_has_them_are_read_with_their_exceptions(tmp_path: Path) -> None:
    name = "./usr/share/debian-security-support/security-support.deb13"
    dates = debs.TarMember("./usr/share/distro-info/debian.csv", _DISTRO)
    path = debs.write_deb(tmp_path, "both", [debs.TarMember(name, _LISTS_OF_13), dates])
    support = read_support([path])
    packages = [
        findings.Component(name, "1", purl="", source=name)
        for name in ("isc-dhcp", "rust-rav1e", "rust-sqv", "zlib")
    ]
    release = replace(support.release("bookworm"), number="13")
    found = package_findings(packages, support, release=release, today=date(2026, 11, 27))
    assert [(each.kind, each.text) for each in found] == [
        (
            "support-ended",
            "source isc-dhcp: no security support since 2023-07-05: its makers ended it",
        ),
        ("support-limited", "source rust-rav1e: limited support: see the release notes"),
    ]
    damaged = debs.write_deb(tmp_path, "odd", [debs.TarMember(name, b"php unknown\n"), dates])
    with pytest.raises(ToolError, match=r"odd_.*\.deb13: 'unknown' is none of limited, non-supp"):
        read_support([damaged])
