"""Turn a suite of an archive into its packages: signature → Release → Packages.

Every step is verified by the one before it: gpgv vouches for `InRelease`, the SHA256 in it for
`Packages`, and each record there for its .deb. The layout is that of Debian's repository format
(wiki.debian.org/DebianRepository/Format).
"""

import hashlib
import lzma
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from tools.apt.fetch import first_good
from tools.apt.relations import Alternatives, Relation, parse
from tools.apt.signature import Verifier
from tools.archive.deb822 import paragraphs
from tools.cli import ToolError

_INRELEASE_LIMIT_BYTES = 16 << 20
# For a suite without a Valid-Until, such as a stable one, which has a new index at each point
# release. apt would take one of any age.
_MAX_AGE_DAYS = 400
# Clocks differ; apt allows 10 seconds.
_MAX_FUTURE = timedelta(minutes=10)
_FILE = re.compile(r"(?P<sha256>[0-9a-f]{64})\s+(?P<size>[0-9]+)\s+(?P<path>\S+)", re.ASCII)


@dataclass(frozen=True)
class Suite:
    """One suite of one archive, e.g. bookworm-updates of `debian`.

    `max_age_days` limits the age of its index; None leaves that to the index's own Valid-Until.
    """

    archive: str
    name: str
    component: str = "main"
    max_age_days: int | None = None

    def __str__(self) -> str:
        return f"{self.archive} {self.name}"


@dataclass(frozen=True)
class Release:
    """What an InRelease says: when it was made and what each index must hash to.

    `signed` is the signed file itself, and `sha256` its hash.
    """

    suite: Suite
    date: datetime
    valid_until: datetime | None
    by_hash: bool
    files: Mapping[str, tuple[str, int]]
    sha256: str = ""
    signed: bytes = field(default=b"", repr=False)

    def unfit(self, *, now: datetime) -> str | None:
        """Return why the archive no longer vouches for this Release at `now`; None if it does."""
        if self.valid_until is not None and self.valid_until < now:
            return f"{self.suite}: the index was valid until {self.valid_until}, which is past"
        days = self.suite.max_age_days
        if days is None and self.valid_until is None:
            days = _MAX_AGE_DAYS
        if days is not None and now - self.date > timedelta(days=days):
            return (
                f"{self.suite}: the index is of {self.date}, more than {days} days ago; if the"
                " suite changes less often, say so with max_age_days in the intent"
            )
        return None


@dataclass(frozen=True)
class Package:
    """One record of a Packages file.

    `suite` is the suite of that file ("debian bookworm"). `snapshot` is the moment to ask the
    permanent archive for, where it is not that of the index.
    """

    name: str
    version: str
    architecture: str
    archive: str
    filename: str
    size: int
    sha256: str
    source: str
    priority: str = "optional"
    depends: tuple[Alternatives, ...] = ()
    conflicts: tuple[Relation, ...] = ()
    breaks: tuple[Relation, ...] = ()
    provides: tuple[Relation, ...] = ()
    suite: str = ""
    snapshot: str = ""


@dataclass(frozen=True)
class Index:
    """The Packages.xz of one architecture that `release` vouches for."""

    release: Release
    arch: str
    content: bytes = field(repr=False)

    def packages(self) -> list[Package]:
        """Return its records, in order; raise ToolError when it cannot be read."""
        suite = self.release.suite
        try:
            text = lzma.decompress(self.content).decode()
            return parse_packages(text, archive=suite.archive, suite=str(suite))
        except (lzma.LZMAError, UnicodeDecodeError, ToolError) as error:
            raise ToolError(f"{suite}: {_path(suite, self.arch)}: {error}") from error


def parse_release(text: str, *, suite: Suite) -> Release:
    """Return the Release that `text` (already verified) describes.

    Raise ToolError when it is for another suite, lacks a field that is needed or has a bad one.
    """
    try:
        fields = next(iter(paragraphs(text)))
        date = _moment(fields["date"])
        until = fields.get("valid-until")
        valid_until = None if until is None else _moment(until)
        files = dict(map(_file, filter(None, fields["sha256"].split("\n"))))
    except (ToolError, KeyError, StopIteration, ValueError, OverflowError) as error:
        raise ToolError(f"{suite}: InRelease is unusable: {error!r}") from error
    if valid_until is not None and valid_until < date:
        raise ToolError(f"{suite}: InRelease was valid until {valid_until}, but is of {date}")
    # A mirror that serves one suite's signed file as another's would else go unnoticed.
    if suite.name not in (fields.get("codename"), fields.get("suite")):
        raise ToolError(
            f"{suite}: InRelease is of suite {fields.get('suite')!r}, codename"
            f" {fields.get('codename')!r}; the mirror mixes suites up"
        )
    return Release(
        suite=suite,
        date=date,
        valid_until=valid_until,
        by_hash=fields.get("acquire-by-hash") == "yes",
        files=files,
    )


def _file(line: str) -> tuple[str, tuple[str, int]]:
    found = _FILE.fullmatch(line.strip())
    if found is None:
        raise ValueError(f"{line!r} is not a hash, a size and a path")
    return found["path"], (found["sha256"], int(found["size"]))


def fetch_release(
    suite: Suite, *, mirrors: Sequence[str], verifier: Verifier, recorded: str | None = None
) -> Release:
    """Fetch and verify `suite`'s InRelease from the first mirror that has one.

    With `recorded`, an InRelease of this SHA256 is wanted and no other. Raise ToolError; also for a
    Date in the future. A bad signature stops at once: another mirror is not asked, since somebody
    should investigate.
    """

    def wrong(content: bytes) -> str | None:
        if not content:
            return "is empty"
        found = hashlib.sha256(content).hexdigest()
        if recorded is None or found == recorded:
            return None
        return f"SHA256 is {found}, the lock was made from {recorded}"

    name = f"{suite}: InRelease"
    content = first_good(
        [f"{base}/dists/{suite.name}/InRelease" for base in mirrors],
        what=name,
        limit=_INRELEASE_LIMIT_BYTES,
        check=wrong,
    )
    release = replace(
        parse_release(verifier.signed_text(content, name=name), suite=suite),
        sha256=hashlib.sha256(content).hexdigest(),
        signed=content,
    )
    if release.date > datetime.now(UTC) + _MAX_FUTURE:
        raise ToolError(
            f"{name} is of {release.date}, which is in the future: this machine's clock is wrong,"
            " or the archive's"
        )
    return release


def fetch_index(release: Release, *, arch: str, mirrors: Sequence[str]) -> Index:
    """Fetch the Packages index that `release` vouches for.

    Raise ToolError when no mirror has it with the right SHA256.
    """
    suite = release.suite
    path = _path(suite, arch)
    if path not in release.files:
        raise ToolError(f"{suite}: InRelease does not list {path}")
    digest, size = release.files[path]

    def wrong(content: bytes) -> str | None:
        found = hashlib.sha256(content).hexdigest()
        return None if found == digest else f"SHA256 is {found}, InRelease wants {digest}"

    folder = path.rpartition("/")[0]
    urls = []
    for base in mirrors:
        if release.by_hash:
            # The name by hash stays valid while a mirror is being updated.
            urls.append(f"{base}/dists/{suite.name}/{folder}/by-hash/SHA256/{digest}")
        urls.append(f"{base}/dists/{suite.name}/{path}")
    content = first_good(urls, what=f"{suite}: {path}", limit=size, check=wrong)
    return Index(release, arch, content)


def _path(suite: Suite, arch: str) -> str:
    return f"{suite.component}/binary-{arch}/Packages.xz"


def parse_packages(text: str, *, archive: str, suite: str = "") -> list[Package]:
    """Return the records of a Packages file of a suite; raise ToolError naming the bad one."""
    packages = []
    try:
        for fields in paragraphs(text):
            packages.append(  # noqa: PERF401 - counted in the error
                parse_package(fields, archive=archive, suite=suite)
            )
    except ToolError as error:
        raise ToolError(f"after {len(packages)} records: {error}") from error
    return packages


def parse_package(
    fields: Mapping[str, str], *, archive: str, suite: str = "", snapshot: str = ""
) -> Package:
    """Return the record of a Packages file's paragraph; raise ToolError naming the package."""
    name = fields.get("package", "(no name)")
    try:
        # `Source: name (version)` when the source's version differs (Policy 5.6.1).
        source = fields.get("source", name).split()[0]
        return Package(
            name=fields["package"],
            version=fields["version"],
            architecture=fields["architecture"],
            archive=archive,
            filename=fields["filename"],
            size=int(fields["size"]),
            sha256=fields["sha256"],
            source=source,
            priority=fields.get("priority", "optional"),
            depends=parse(fields.get("pre-depends", "")) + parse(fields.get("depends", "")),
            conflicts=_flat(fields.get("conflicts", "")),
            breaks=_flat(fields.get("breaks", "")),
            provides=_flat(fields.get("provides", "")),
            suite=suite,
            snapshot=snapshot,
        )
    except (LookupError, ValueError, ToolError) as error:
        raise ToolError(f"package {name!r}: {error!r}") from error


def _flat(field: str) -> tuple[Relation, ...]:
    groups = parse(field)
    if any(len(group) != 1 for group in groups):
        raise ToolError(f"alternatives are not allowed in {field!r}")
    return tuple(group[0] for group in groups)


def _moment(text: str) -> datetime:
    moment = parsedate_to_datetime(text)
    # `UTC` is not one of RFC 5322's zone names, so the parser leaves the zone out.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
