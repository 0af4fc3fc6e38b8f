import hashlib
import lzma
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tools.apt.gpgv_for_test import TESTDATA, verifier
from tools.apt.index import (
    Release,
    Suite,
    fetch_index,
    fetch_release,
    parse_packages,
    parse_release,
)
from tools.apt.relations import parse
from tools.cli import ToolError

_SUITE = Suite(archive="debian", name="bookworm")
_PATH = "main/binary-amd64/Packages.xz"
_RECORD = """\
Package: libssl3
Source: openssl (3.0.1-1)
Version: 3.0.1-1+b1
Architecture: amd64
Priority: important
Pre-Depends: libpre
Depends: libc6 (>= 2.34)
Conflicts: old
Breaks: older (<< 1)
Provides: ssl (= 3)
Filename: pool/main/o/openssl/libssl3.deb
Size: 12
SHA256: abc
Description: first line
 and more
"""


def _mirror(directory: Path, content: bytes, *, by_hash: str = "") -> str:
    path = directory / "dists/bookworm" / (by_hash or _PATH)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return directory.as_uri()


def _release(content: bytes, *, by_hash: bool = False) -> Release:
    return Release(
        suite=_SUITE,
        date=datetime(2020, 1, 1, tzinfo=UTC),
        valid_until=None,
        by_hash=by_hash,
        files={_PATH: (hashlib.sha256(content).hexdigest(), len(content))},
    )


def test_a_record_is_read_with_all_its_relations() -> None:
    (package,) = parse_packages(_RECORD, archive="debian-security")
    assert (package.name, package.version, package.source) == ("libssl3", "3.0.1-1+b1", "openssl")
    assert package.archive == "debian-security"
    assert (package.size, package.sha256, package.priority) == (12, "abc", "important")
    assert package.depends == parse("libpre, libc6 (>= 2.34)"), "Pre-Depends count, and come first"
    assert (package.conflicts,) == parse("old")
    assert (package.breaks,) == parse("older (<< 1)")
    assert (package.provides,) == parse("ssl (= 3)")


@pytest.mark.parametrize("field", ["Version", "Architecture", "Filename", "Size", "SHA256"])
def test_a_record_that_lacks_a_field_is_named(field: str) -> None:
    lines = [line for line in _RECORD.splitlines() if not line.startswith(f"{field}:")]
    with pytest.raises(ToolError, match=f"package 'libssl3': .*{field.lower()}"):
        parse_packages("\n".join(lines), archive="debian")


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(ToolError, match="package 'libssl3': IndexError"):
        parse_packages(_RECORD.replace("Source: openssl (3.0.1-1)", "Source:"), archive="debian")


def test_a_dependency_that_cannot_be_read_names_its_package() -> None:
    with pytest.raises(ToolError, match=r"package 'libssl3': .*'libc6 > 2'"):
        parse_packages(_RECORD.replace("libc6 (>= 2.34)", "libc6 > 2"), archive="debian")


def test_alternatives_have_no_place_in_conflicts() -> None:
    with pytest.raises(ToolError, match=r"alternatives are not allowed in 'old \| odd'"):
        parse_packages(_RECORD.replace("Conflicts: old", "Conflicts: old | odd"), archive="debian")


def test_a_line_that_is_not_a_field_is_quoted() -> None:
    with pytest.raises(
        ToolError, match="after 0 records: line 2: 'garbage' is not a 'Name: value' line"
    ):
        parse_packages("Package: aa\ngarbage\n", archive="debian")


def test_a_release_of_another_suite_is_refused() -> None:
    text = "Suite: stable\nCodename: trixie\nDate: Wed, 01 Jan 2020 00:00:00 UTC\nSHA256:\n"
    with pytest.raises(ToolError) as caught:
        parse_release(text, suite=_SUITE)
    assert str(caught.value) == (
        "debian bookworm: InRelease is of suite 'stable', codename 'trixie';"
        " the mirror mixes suites up"
    )


def test_a_release_without_hashes_is_refused() -> None:
    with pytest.raises(ToolError, match=r"debian bookworm: InRelease is unusable: .*sha256"):
        parse_release("Suite: bookworm\nDate: Wed, 01 Jan 2020 00:00:00 UTC\n", suite=_SUITE)


def _dated(*, until: str = "", files: str = "") -> str:
    return f"Suite: bookworm\nDate: Wed, 01 Jan 2020 00:00:00 UTC\n{until}SHA256:\n{files}"


_UNTIL = "Valid-Until: Wed, 08 Jan 2020 00:00:00 UTC\n"


@pytest.mark.parametrize(
    ("until", "max_age_days", "now", "reason"),
    [
        (_UNTIL, None, datetime(2020, 1, 7, tzinfo=UTC), None),
        (_UNTIL, None, datetime(2020, 1, 9, tzinfo=UTC), "the index was valid until 2020-01-08 "),
        (_UNTIL, 3, datetime(2020, 1, 4, tzinfo=UTC), None),
        (_UNTIL, 3, datetime(2020, 1, 5, tzinfo=UTC), "of 2020-01-01 00:00:00+00:00, more than 3 "),
        ("", None, datetime(2021, 2, 4, tzinfo=UTC), None),
        (
            "",
            None,
            datetime(2021, 2, 5, tzinfo=UTC),
            "more than 400 days ago; if the suite changes",
        ),
        ("", 1000, datetime(2021, 2, 5, tzinfo=UTC), None),
    ],
)
def test_a_release_is_unfit_after_its_valid_until_or_the_maximum_age(
    until: str, max_age_days: int | None, now: datetime, reason: str | None
) -> None:
    suite = Suite(archive="debian", name="bookworm", max_age_days=max_age_days)
    found = parse_release(_dated(until=until), suite=suite).unfit(now=now)
    assert found is None if reason is None else found is not None and reason in found


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (_dated().replace("Wed, 01", "yesterday"), "InRelease is unusable: "),
        (_dated().replace("2020", "99999"), "InRelease is unusable: "),
        (_dated(until="Valid-Until: soon\n"), "InRelease is unusable: "),
        (
            _dated(files=" abc 1 main/Packages\n"),
            "'abc 1 main/Packages' is not a hash, a size and a",
        ),
        (_dated(files=f" {'a' * 64} -1 x\n"), "-1 x' is not a hash, a size and a path"),
        (
            _dated(until=_UNTIL.replace("2020", "2019")),
            "InRelease was valid until 2019-01-08 00:00:00+00:00, but is of 2020-01-01",
        ),
    ],
)
def test_a_release_with_a_bad_field_is_refused(text: str, cause: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse_release(text, suite=_SUITE)
    assert str(caught.value).startswith("debian bookworm: InRelease ")
    assert cause in str(caught.value)


def test_a_signed_release_is_fetched_from_the_first_mirror_that_has_it(tmp_path: Path) -> None:
    mirrors = [(tmp_path / "empty").as_uri(), (TESTDATA / "archive").resolve().as_uri()]
    release = fetch_release(_SUITE, mirrors=mirrors, verifier=verifier())
    assert release.date == datetime(2020, 1, 1, tzinfo=UTC)
    packages = fetch_index(release, arch="arm64", mirrors=mirrors).packages()
    assert [package.name for package in packages] == [
        "application",
        "library",
        "library",
        "helper",
    ]


def test_a_tampered_release_is_refused_even_when_another_mirror_has_a_good_one(
    tmp_path: Path,
) -> None:
    good = TESTDATA / "archive"
    bad = tmp_path / "dists/bookworm/InRelease"
    bad.parent.mkdir(parents=True)
    bad.write_bytes((good / "dists/bookworm/InRelease").read_bytes().replace(b"2020", b"2021"))
    with pytest.raises(ToolError, match="debian bookworm: InRelease: no good signature"):
        fetch_release(
            _SUITE,
            mirrors=[tmp_path.as_uri(), good.resolve().as_uri()],
            verifier=verifier(),
        )


def test_packages_with_another_hash_are_refused_and_the_mirror_is_named(tmp_path: Path) -> None:
    good = lzma.compress(_RECORD.encode())
    url = _mirror(tmp_path, good[:-1] + b"x")
    with pytest.raises(ToolError) as caught:
        fetch_index(_release(good), arch="amd64", mirrors=[url]).packages()
    message = str(caught.value)
    assert f"debian bookworm: {_PATH} could not be fetched from any mirror" in message
    assert f"{url}/dists/bookworm/{_PATH}: SHA256 is " in message
    assert "InRelease wants " in message
    assert "DEBIAN_MIRROR" in message


def test_packages_that_are_too_long_are_not_read_to_the_end(tmp_path: Path) -> None:
    good = lzma.compress(_RECORD.encode())
    url = _mirror(tmp_path, good + b"x" * 100)
    with pytest.raises(ToolError, match=f"larger than the {len(good)} bytes expected"):
        fetch_index(_release(good), arch="amd64", mirrors=[url]).packages()


def test_a_mirror_with_the_wrong_file_is_passed_over(tmp_path: Path) -> None:
    good = lzma.compress(_RECORD.encode())
    mirrors = [_mirror(tmp_path / "old", b"old"), _mirror(tmp_path / "new", good)]
    (package,) = fetch_index(_release(good), arch="amd64", mirrors=mirrors).packages()
    assert package.name == "libssl3"


def test_packages_are_found_by_their_hash_while_a_mirror_is_being_updated(tmp_path: Path) -> None:
    good = lzma.compress(_RECORD.encode())
    digest = hashlib.sha256(good).hexdigest()
    url = _mirror(tmp_path, good, by_hash=f"main/binary-amd64/by-hash/SHA256/{digest}")
    release = _release(good, by_hash=True)
    assert fetch_index(release, arch="amd64", mirrors=[url]).packages()


def test_an_architecture_that_the_release_does_not_list_is_named() -> None:
    with pytest.raises(ToolError) as caught:
        fetch_index(_release(b""), arch="riscv64", mirrors=[]).packages()
    assert str(caught.value) == (
        "debian bookworm: InRelease does not list main/binary-riscv64/Packages.xz"
    )


def test_no_mirror_at_all_says_so() -> None:
    with pytest.raises(ToolError, match="the mirror list is empty"):
        fetch_index(_release(b""), arch="amd64", mirrors=[]).packages()


def test_packages_that_do_not_unpack_are_named(tmp_path: Path) -> None:
    url = _mirror(tmp_path, b"not xz")
    with pytest.raises(ToolError, match=f"debian bookworm: {_PATH}: "):
        fetch_index(_release(b"not xz"), arch="amd64", mirrors=[url]).packages()
