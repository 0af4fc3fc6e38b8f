"""Ask the mirrors which files of a lock they no longer have.

    python3 tools/apt/pins.py [--replaced] LOCK MIRRORS    # MIRRORS as mirrors.py prints them
    {"missing": {"pool/main/x/x_1_amd64.deb": "x (amd64) 1: …"}}

An archive keeps the newest version of each package, so a lock that is old names files that are gone
from every mirror. All of them are listed, each with the newer version that has replaced it and
since when that has been there. Only an answer that a file is not there counts, of a mirror that has
the index of a suite: one that cannot be asked says nothing, and neither does one that refuses HEAD.

With `--replaced`, which is quick enough for every build that downloads, only files are asked for
that the archive may have replaced since the lock was made: the hashes of the suites' InRelease,
which the lock records, say where to look. A mirror that lacks what its own index lists is found
without it.

What is said of newer versions is for people and is not verified; the lock command does that.

Standard library only: a repository rule runs it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import lzma
import os
import re
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from tools.apt.mirrors import redacted, request
from tools.apt.versions import compare
from tools.cli import ToolError, tool

Package = Mapping[str, Any]
Mirrors = Mapping[str, Sequence[str]]

_JOBS = 16
_TIMEOUT_SECONDS = 10
_GONE = frozenset([404, 410])
_REDIRECT = 3  # the first digit of these statuses
_INDEX_LIMIT_BYTES = 64 << 20
# Updates and security have less than this; a whole suite has ten times as much.
_SMALL_INDEX_BYTES = 1 << 20
# The connections of each thread.
_thread = threading.local()
# Hosts that time out or cannot be connected to: they are asked once, not for each file.
_unreachable: set[str] = set()
_SNAPSHOT = "https://snapshot.debian.org/archive"


def find_replaced(lock: Mapping[str, Any], mirrors: Mirrors) -> list[Package]:
    """Return the packages that the archive may have replaced since the lock was made."""
    releases = lock.get("releases", ())
    with ThreadPoolExecutor(_JOBS) as pool:
        found = pool.map(lambda release: _replaced_in(release, lock, mirrors), releases)
        names = {package["filename"] for packages in found for package in packages}
    return [package for package in lock["packages"] if package["filename"] in names]


def _replaced_in(release: Package, lock: Mapping[str, Any], mirrors: Mirrors) -> list[Package]:
    """Return the packages of which a suite's index, if it has changed, has another version.

    A large index is not read: all packages of its archive count.
    """
    suites = (f"{base}/dists/{release['suite']}" for base in mirrors.get(release["archive"], ()))
    for suite in suites:
        signed = _read(f"{suite}/InRelease")
        if signed is not None:
            break
    else:
        return []
    if hashlib.sha256(signed).hexdigest() == release["sha256"]:
        return []
    packages = [each for each in lock["packages"] if each["archive"] == release["archive"]]

    def replaced(arch: str) -> list[Package]:
        path = f"main/binary-{arch}/Packages.xz"
        size = re.search(rb"^ [0-9a-f]{64} +([0-9]+) " + path.encode() + b"$", signed, re.MULTILINE)
        pinned = {package["name"]: package for package in packages if package["arch"] == arch}
        if size is None or int(size[1]) > _SMALL_INDEX_BYTES:
            return list(pinned.values())
        listed: dict[str, set[str]] = {}
        for name, _, filename in _records(f"{suite}/{path}", pinned.keys()) or ():
            listed.setdefault(name, set()).add(filename)
        return [
            pinned[name] for name, files in listed.items() if pinned[name]["filename"] not in files
        ]

    with ThreadPoolExecutor(_JOBS) as pool:
        found = pool.map(replaced, sorted({package["arch"] for package in packages}))
        return [package for each in found for package in each]


def find_missing(
    lock: Mapping[str, Any],
    mirrors: Mirrors,
    *,
    packages: Sequence[Package],
    permanent: str = _SNAPSHOT,
) -> list[Package]:
    """Return the packages that are gone from a mirror, and that no other one has."""
    bases = _answering(lock.get("releases", ()), mirrors) if packages else {}

    def is_gone(package: Package) -> bool:
        filename = package["filename"].replace("+", "%2B")
        answers = [_has(f"{base}/{filename}") for base in bases.get(package["archive"], ())]
        if False not in answers or True in answers or None in answers:
            return False
        moment = package.get("snapshot") or lock["snapshot"]
        return not _has(f"{permanent}/{package['archive']}/{moment}/{filename}")

    files = {package["filename"]: package for package in packages}
    with ThreadPoolExecutor(_JOBS) as pool:
        gone = pool.map(lambda each: (each["filename"], is_gone(each)), files.values())
        missing = {filename for filename, found in gone if found}
    return [package for package in packages if package["filename"] in missing]


def _answering(releases: Sequence[Package], mirrors: Mirrors) -> dict[str, list[str]]:
    """Return the mirrors of each archive that have the index of one of its suites.

    A proxy that answers for a host that is not there has "no such file" for every file.
    """
    asked = [
        (release["archive"], base, f"{base}/dists/{release['suite']}/InRelease")
        for release in releases
        for base in mirrors.get(release["archive"], ())
    ]
    with ThreadPoolExecutor(_JOBS) as pool:
        answers = pool.map(_has, [url for _, _, url in asked])
    found: dict[str, list[str]] = {}
    for (archive, base, _), there in zip(asked, answers, strict=True):
        if there and base not in found.setdefault(archive, []):
            found[archive].append(base)
    return found


def _has(url: str) -> bool | None:
    """Return whether a file is there; None if that cannot be told."""
    wanted = request(url)
    wanted.method = "HEAD"
    where = urllib.parse.urlsplit(wanted.full_url).netloc
    status = None if where in _unreachable else _status_over_kept_connection(wanted)
    if status is not None or where in _unreachable:
        return status == http.client.OK or (False if status in _GONE else None)
    try:
        with urllib.request.urlopen(wanted, timeout=_TIMEOUT_SECONDS):  # noqa: S310 - mirrors.py
            return True
    except urllib.error.HTTPError as error:
        return False if error.code in _GONE else None
    except urllib.error.URLError as error:
        # Of file://, which has no status.
        if isinstance(error.reason, FileNotFoundError):
            return False
        _unreachable.add(where)
        return None
    except (OSError, ValueError, http.client.HTTPException):
        return None


def _status_over_kept_connection(wanted: urllib.request.Request) -> int | None:
    """Return the status of HEAD; None where urllib has to ask (a proxy, a redirect, a failure).

    urllib opens a connection for each request, which takes twenty times as long for a whole lock.
    """
    parts = urllib.parse.urlsplit(wanted.full_url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    proxies = urllib.request.getproxies()
    if parts.scheme not in kinds or (
        (parts.scheme in proxies or "all" in proxies)
        and not urllib.request.proxy_bypass(parts.netloc)
    ):
        return None
    connections: dict[str, http.client.HTTPConnection] = vars(_thread).setdefault("kept", {})
    where = f"{parts.scheme}://{parts.netloc}"
    kept = connections.pop(where, None) or kinds[parts.scheme](
        parts.netloc, timeout=_TIMEOUT_SECONDS
    )
    try:
        kept.request("HEAD", wanted.selector, headers=dict(wanted.header_items()))
        reply = kept.getresponse()
        reply.read()
    except TimeoutError:
        _unreachable.add(parts.netloc)
        return None
    except (OSError, http.client.HTTPException):
        return None
    connections[where] = kept
    return None if reply.status // 100 == _REDIRECT else reply.status


def newer_versions(
    missing: Sequence[Package], releases: Sequence[Package], mirrors: Mirrors
) -> dict[tuple[str, str], str]:
    """Return "VERSION in SUITE since DAY" by name and architecture, as far as mirrors tell."""
    wanted: dict[tuple[str, str], set[str]] = {}
    for package in missing:
        wanted.setdefault((package["archive"], package["arch"]), set()).add(package["name"])
    names = {name for each in wanted.values() for name in each}
    found: dict[tuple[str, str], str] = {}
    newest = {(package["name"], package["arch"]): package["version"] for package in missing}
    for release in releases:
        for arch in sorted({package["arch"] for package in missing}):
            for base in mirrors.get(release["archive"], ()):
                url = f"{base}/dists/{release['suite']}/main/binary-{arch}/Packages.xz"
                records = _records(url, names)
                if records is None:
                    continue
                for name, version, filename in records:
                    key = (name, arch)
                    if not _is_newer(version, newest.get(key)):
                        continue
                    day = _day(f"{base}/{filename.replace('+', '%2B')}")
                    newest[key] = version
                    found[key] = f"{version} in {release['suite']}{day and f' since {day}'}"
                break
    return found


def _is_newer(version: str, than: str | None) -> bool:
    try:
        return than is not None and compare(version, than) > 0
    except ValueError:
        return False  # of an index that nobody verified


def _read(url: str) -> bytes | None:
    """Return a file of a mirror; None if that cannot be had."""
    try:
        with urllib.request.urlopen(  # noqa: S310 - mirrors.py gives http, https and file only
            request(url), timeout=_TIMEOUT_SECONDS
        ) as reply:
            content: bytes = reply.read(_INDEX_LIMIT_BYTES)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return content


def _records(url: str, names: Collection[str]) -> list[tuple[str, str, str]] | None:
    """Return name, version and file of the wanted packages of an index; None without one."""
    content = _read(url)
    try:
        text = lzma.decompress(content or b"").decode("utf-8", "replace")
    except lzma.LZMAError:
        return None
    found = []
    for block in text.split("\n\n"):
        if not block.startswith("Package: ") or block[9:].partition("\n")[0] not in names:
            continue
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
        found.append((fields["Package"], fields.get("Version", ""), fields.get("Filename", "")))
    return found


def _day(url: str) -> str:
    """Return the day on which a file came to the archive, "" if the mirror does not say so."""
    wanted = request(url)
    wanted.method = "HEAD"
    try:
        with urllib.request.urlopen(wanted, timeout=_TIMEOUT_SECONDS) as reply:  # noqa: S310 - as above
            stated = reply.headers.get("Last-Modified")
            return parsedate_to_datetime(stated).date().isoformat() if stated else ""
    except (OSError, ValueError, TypeError):
        return ""


def report(
    lock: Mapping[str, Any],
    mirrors: Mirrors,
    *,
    replaced: bool = False,
    permanent: str = _SNAPSHOT,
) -> Any:
    """Return what `main` prints: a sentence for each missing file."""
    packages = find_replaced(lock, mirrors) if replaced else lock["packages"]
    missing = find_missing(lock, mirrors, packages=packages, permanent=permanent)
    newer = newer_versions(missing, lock.get("releases", ()), mirrors) if missing else {}
    lines = {}
    for package in missing:
        key = (package["name"], package["arch"])
        there = newer.get(key)
        lines[key] = "{} ({}) {}: {}".format(
            *key, package["version"], f"there is {there}" if there else "no newer version is there"
        )
    return {
        "missing": {
            package["filename"]: lines[package["name"], package["arch"]] for package in missing
        },
    }


@tool("pins")
def main(argv: list[str] | None = None) -> None:
    """Print the files of a lock that no mirror has, as JSON."""
    arguments = sys.argv[1:] if argv is None else argv
    replaced = arguments[:1] == ["--replaced"]
    permanent = os.environ.get("PERMANENT_ARCHIVE", _SNAPSHOT)
    try:
        lock, mirrors = (json.loads(Path(name).read_bytes()) for name in arguments[replaced:])
        found = report(lock, mirrors, replaced=replaced, permanent=permanent)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        names = redacted(" and ".join(arguments)) or "no arguments"
        raise ToolError(f"wanted a lock and its mirrors, found {names}: {error!r}") from error
    print(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
