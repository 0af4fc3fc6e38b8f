"""Turn a suite of an archive into its packages: signature → Release → Packages.

Every step is verified by the one before it: gpgv vouches for `InRelease`, the SHA256 in it for
`Packages`, and each record there for its .deb. The layout is that of Debian's repository format
(wiki.debian.org/DebianRepository/Format).
"""

import hashlib
import lzma
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from tools.apt.fetch import first_good
from tools.apt.relations import Alternatives, Relation, parse
from tools.apt.signature import Verifier
from tools.archive.deb822 import paragraphs
from tools.cli import ToolError

_INRELEASE_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True)
class Suite:
    """One suite of one archive, e.g. bookworm-updates of `debian`."""

    archive: str
    name: str
    component: str = "main"

    def __str__(self) -> str:
        return f"{self.archive} {self.name}"


@dataclass(frozen=True)
class Release:
    """What an InRelease says: when it was made and what each index must hash to."""

    suite: Suite
    date: datetime
    valid_until: datetime | None
    by_hash: bool
    files: Mapping[str, tuple[str, int]]

    def expired(self, *, now: datetime) -> bool:
        """Return whether the archive no longer vouches for this Release at `now`."""
        return self.valid_until is not None and self.valid_until < now


@dataclass(frozen=True)
class Package:
    """One record of a Packages file."""

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


def parse_release(text: str, *, suite: Suite) -> Release:
    """Return the Release that `text` (already verified) describes.

    Raise ToolError when it is for another suite or lacks a field that is needed.
    """
    try:
        fields = next(iter(paragraphs(text)))
        date = _moment(fields["date"])
        until = fields.get("valid-until")
        hashes = fields["sha256"]
    except (ToolError, KeyError, StopIteration, ValueError) as error:
        raise ToolError(f"{suite}: InRelease is unusable: {error!r}") from error
    # A mirror that serves one suite's signed file as another's would else go unnoticed.
    if suite.name not in (fields.get("codename"), fields.get("suite")):
        raise ToolError(
            f"{suite}: InRelease is of suite {fields.get('suite')!r}, codename"
            f" {fields.get('codename')!r}; the mirror mixes suites up"
        )
    files = {}
    for line in hashes.strip().splitlines():
        digest, size, path = line.split()
        files[path] = (digest, int(size))
    return Release(
        suite=suite,
        date=date,
        valid_until=None if until is None else _moment(until),
        by_hash=fields.get("acquire-by-hash") == "yes",
        files=files,
    )


def fetch_release(suite: Suite, *, mirrors: Sequence[str], verifier: Verifier) -> Release:
    """Fetch and verify `suite`'s InRelease from the first mirror that has one.

    Raise ToolError. A bad signature stops at once: another mirror is not asked, since somebody
    should investigate.
    """
    content = first_good(
        [f"{base}/dists/{suite.name}/InRelease" for base in mirrors],
        what=f"{suite}: InRelease",
        limit=_INRELEASE_LIMIT_BYTES,
        check=lambda content: None if content else "is empty",
    )
    return parse_release(verifier.signed_text(content, name=f"{suite}: InRelease"), suite=suite)


def fetch_packages(release: Release, *, architecture: str, mirrors: Sequence[str]) -> list[Package]:
    """Fetch the Packages index that `release` vouches for and return its records, in order.

    Raise ToolError when no mirror has it with the right SHA256 or it cannot be read.
    """
    suite = release.suite
    path = f"{suite.component}/binary-{architecture}/Packages.xz"
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
    try:
        return parse_packages(lzma.decompress(content).decode(), archive=suite.archive)
    except (lzma.LZMAError, UnicodeDecodeError, ToolError) as error:
        raise ToolError(f"{suite}: {path}: {error}") from error


def parse_packages(text: str, *, archive: str) -> list[Package]:
    """Return the records of a Packages file; raise ToolError naming the bad one."""
    packages = []
    try:
        for fields in paragraphs(text):
            packages.append(_package(fields, archive=archive))  # noqa: PERF401 - counted in the error
    except ToolError as error:
        raise ToolError(f"after {len(packages)} records: {error}") from error
    return packages


def _package(fields: Mapping[str, str], *, archive: str) -> Package:
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
        )
    except (KeyError, ValueError, ToolError) as error:
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
