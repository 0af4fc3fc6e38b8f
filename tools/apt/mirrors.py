"""Find the Debian mirrors of this machine: apt's configuration in, base URLs out.

    python3 tools/apt/mirrors.py
    {"debian": ["http://mirror.example/debian"], "debian-security": [...]}

`DEBIAN_MIRROR` (base URLs of the `debian` archive, separated by spaces) and
`DEBIAN_SECURITY_MIRROR` come first; else apt's sources are read in both formats of sources.list(5).
Only the archive part of a source counts, not its suite: one archive's pool holds the packages of
every suite, so a machine that runs one Debian release can fetch another's from the same mirror.

Every download is checked against a sha256, so a wrong guess here costs a failed request and nothing
else. That is why sources that merely look like Debian's are kept, after those that certainly are.

Standard library only and Python 3.9: it also runs before the pinned interpreter is there.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools.cli import ToolError, tool

if TYPE_CHECKING:
    import urllib.request  # imported by what needs it: bazelw reads this file at every start

DEBIAN = "debian"
SECURITY = "debian-security"
ARCHIVES = (DEBIAN, SECURITY)

# Suites and code names of Debian itself; other distributions' names (noble, nodistro) are not here.
_RELEASES = frozenset(
    [
        *("oldoldstable", "oldstable", "stable", "testing", "unstable", "sid", "experimental"),
        *("stretch", "buster", "bullseye", "bookworm", "trixie", "forky", "duke"),
    ]
)
_POCKETS = frozenset(
    ["", "updates", "security", "backports", "backports-sloppy", "proposed-updates"]
)
# What deb822 takes for "no" in Enabled (apt's StringToBool).
_NO = frozenset(["no", "false", "without", "off", "disable", "0"])
_OTHER_DISTRIBUTIONS = ("ubuntu", "raspbian", "raspberrypi", "kali", "devuan", "linuxmint")
# Up to the last "@" before the path, so that a password's unencoded "@", "#" or "?" is part of it.
_USER = re.compile(r"([a-z][a-z0-9+.-]*://)([^/]*)@", re.IGNORECASE)
# Wherever in a text, whose scheme is not looked at: that would take time by the square of a line.
_ANY_USER = re.compile("://[^/]*@")
_SOURCE_FILE = re.compile(r"[A-Za-z0-9_.-]+\Z")


class Source(
    NamedTuple
):  # not a dataclass: bazelw imports this at every start, and those cost 7 ms
    """One enabled binary source: a base URL, one suite of it, its components and its keyring."""

    url: str
    suite: str
    components: tuple[str, ...]
    signed_by: str


def archive_urls(
    archive: str, *, environ: Mapping[str, str], apt_dir: Path = Path("/etc/apt")
) -> list[str]:
    """Return the base URLs of `archive` ("debian" or "debian-security"), best first.

    They have no "/" at the end; the list is empty when the machine has no Debian source. Raise
    ToolError for a setting or a source file that cannot be read as what it should be, ValueError
    for an unknown archive.
    """
    if archive not in ARCHIVES:
        raise ValueError(f"archive {archive!r} is not one of {', '.join(ARCHIVES)}")
    main = _from_environment("DEBIAN_MIRROR", environ)
    security = _from_environment("DEBIAN_SECURITY_MIRROR", environ)
    if archive == DEBIAN and main:
        return main
    if archive == SECURITY and (security or main):
        return security or _unique(_security_url(url) for url in main)
    found = _from_sources(archive, apt_dir)
    if archive == SECURITY and not found:
        # A machine of testing, or one with security updates switched off.
        return _unique(_security_url(url) for url in _from_sources(DEBIAN, apt_dir))
    return found


def read_sources(apt_dir: Path) -> list[Source]:
    """Read sources.list and sources.list.d in apt's order; files closed to the user are left out.

    Raise ToolError, with file and line, for an entry apt would not accept either.
    """
    found: list[Source] = []
    for path in _source_files(apt_dir):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except PermissionError:
            continue  # It may hold credentials of a mirror that is not this user's.
        parse = _parse_deb822 if path.suffix == ".sources" else _parse_one_line
        found.extend(parse(text, path))
    return found


def redacted(text: str) -> str:
    """Return a URL, or a line with URLs, without user names and passwords, for messages."""
    return _ANY_USER.sub("://", text)


def request(url: str) -> urllib.request.Request:
    """Return the request for a mirror's URL, its user and password sent as RFC 7617 says.

    urllib would take "user:password@" for a part of the host. What urlopen then says of a failure
    does not hold the password, as the request's own URL does not.
    """
    import base64
    import urllib.parse
    import urllib.request

    found = _USER.match(url)
    plain = found[1] + url[found.end() :] if found else url
    wanted = urllib.request.Request(plain)  # noqa: S310 - _from_environment, _expand choose schemes
    if found:
        token = base64.b64encode(urllib.parse.unquote_to_bytes(found[2])).decode("ascii")
        # Not for whatever host a redirect names.
        wanted.add_unredirected_header("Authorization", f"Basic {token}")
    return wanted


def _from_environment(name: str, environ: Mapping[str, str]) -> list[str]:
    urls = environ.get(name, "").split()
    for url in urls:
        if not re.match(r"(https?://[^/]|file:/)", url):
            raise ToolError(
                f"{name}: {redacted(url)!r} is not the base URL of an archive; wanted one or more "
                "of http://HOST/PATH, https://HOST/PATH or file:///PATH, separated by spaces"
            )
    return _unique(_normal(url) for url in urls)


def _from_sources(archive: str, apt_dir: Path) -> list[str]:
    certain: list[str] = []
    possible: list[str] = []
    for source in read_sources(apt_dir):
        if _archive_of(source) == archive:
            (certain if _is_certain(source) else possible).append(source.url)
    return _unique(url for base in certain + possible for url in _expand(base))


def _archive_of(source: Source) -> str | None:
    # "bookworm-security", "stable-updates", and until Debian 10 "buster/updates" for security.
    release, _, pocket = source.suite.replace("/updates", "-security").partition("-")
    if release not in _RELEASES or pocket not in _POCKETS or "main" not in source.components:
        return None
    if any(name in source.url.lower() for name in _OTHER_DISTRIBUTIONS):
        return None
    return SECURITY if pocket == "security" else DEBIAN


def _is_certain(source: Source) -> bool:
    last = source.url.rstrip("/").rpartition("/")[2]
    return "debian-archive" in source.signed_by or last.startswith("debian")


def _source_files(apt_dir: Path) -> list[Path]:
    parts = apt_dir / "sources.list.d"
    names = sorted(path.name for path in parts.iterdir()) if parts.is_dir() else []
    wanted = [n for n in names if n.endswith((".list", ".sources")) and _SOURCE_FILE.match(n)]
    candidates = [apt_dir / "sources.list", *(parts / name for name in wanted)]
    return [path for path in candidates if path.is_file()]


def _parse_one_line(text: str, path: Path) -> Iterator[Source]:
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = re.match(r"(deb|deb-src)\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*(.*)\Z", line)
        if not match:
            raise ToolError(
                f"{path}:{number}: {redacted(line)!r} is not 'deb [options] URL SUITE COMPONENT...'"
                "; fix the file, or set DEBIAN_MIRROR to the mirror to use"
            )
        kind, options, url, suite, components = match.groups()
        if kind == "deb":
            signed_by = " ".join(
                word.partition("=")[2]
                for word in (options or "").split()
                if word.lower().startswith("signed-by=")
            )
            yield Source(url, suite, tuple(components.split()), signed_by)


def _parse_deb822(text: str, path: Path) -> Iterator[Source]:
    for stanza in _stanzas(text, path):
        if "deb" not in stanza.get("types", "").split():
            continue
        if stanza.get("enabled", "yes").strip().lower() in _NO:
            continue
        components = tuple(stanza.get("components", "").split())
        for url in stanza.get("uris", "").split():
            for suite in stanza.get("suites", "").split():
                yield Source(url, suite, components, stanza.get("signed-by", ""))


def _stanzas(text: str, path: Path) -> Iterator[dict[str, str]]:
    """Split a deb822 file into stanzas of lower-cased field names; comments may stand anywhere."""
    fields: dict[str, str] = {}
    last = ""
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, ""
        elif line[0] in " \t" and last:
            fields[last] += " " + line.strip()
        else:
            name, colon, value = line.partition(":")
            if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name):
                raise ToolError(
                    f"{path}:{number}: {redacted(line.strip())!r} is not a 'Name: value' line; "
                    "fix the file, or set DEBIAN_MIRROR to the mirror to use"
                )
            last = name.strip().lower()
            fields[last] = value.strip()


def _expand(url: str) -> Iterator[str]:
    """Yield the usable URLs behind one: itself, or the entries of a mirror+file: list."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() in ("http", "https", "file", "copy"):
        yield _normal(url)
    elif scheme.lower() in ("mirror+file", "mirror+copy"):
        # apt-transport-mirror(1), as in Debian's cloud images: one URL a line, options after a tab.
        try:
            lines = Path("/" + rest.lstrip("/")).read_text(encoding="utf-8").splitlines()
        except OSError:
            return
        for line in lines:
            entry = line.partition("#")[0].partition("\t")[0].strip()
            if entry.lower().startswith(("http:", "https:", "file:")):
                yield _normal(entry)
    # cdrom:, tor+http: and the like cannot be read by plain downloaders.


def _normal(url: str) -> str:
    scheme, _, rest = url.partition(":")
    scheme = scheme.lower()
    if scheme in ("file", "copy"):
        return "file:///" + rest.strip("/")
    return f"{scheme}:{rest.rstrip('/')}"


def _security_url(url: str) -> str:
    return url + "-security" if url.endswith("/debian") else url


def _unique(urls: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(urls))


@tool("mirrors")
def main(argv: list[str] | None = None) -> None:
    """Print the mirrors of both archives as JSON."""
    import argparse
    import json

    parser = argparse.ArgumentParser(
        description="Print the base URLs of Debian's archives that this machine uses, as JSON."
    )
    parser.add_argument(
        "--apt-dir", type=Path, default=Path("/etc/apt"), help="apt's configuration (%(default)s)"
    )
    options = parser.parse_args(argv)
    mirrors = {
        archive: archive_urls(archive, environ=os.environ, apt_dir=options.apt_dir)
        for archive in ARCHIVES
    }
    print(json.dumps(mirrors, indent=2, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
