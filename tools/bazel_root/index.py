"""Fetches a suite's package index and trusts it only by its signature: InRelease, then Packages.

`InRelease` is checked by gpgv against the Debian archive keyring; each `Packages.xz` is taken by the
sha256 in it (SecureApt; the format is the Debian wiki's RepositoryFormat).
"""

from __future__ import annotations

import hashlib
import lzma
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path

from tools.apt.mirrors import redacted
from tools.bazel_root.errors import BazelRootError

_TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class Release:
    """A verified InRelease: its fields, and the sha256 of each index it names."""

    fields: dict[str, str]
    hashes: dict[str, str]
    base: str
    """The mirror it came from; the indexes must come from the same one."""

    @property
    def date(self) -> datetime:
        """When the archive signed it, in UTC."""
        return _date(self.fields["Date"])

    def expired(self, now: datetime) -> bool:
        """Says whether Valid-Until is past."""
        until = self.fields.get("Valid-Until")
        return until is not None and _date(until) < now


def fetch_release(suite: str, *, mirrors: Iterable[str], keyring: Path) -> Release:
    """Fetches and verifies InRelease from the first mirror that has it.

    Raises BazelRootError when no mirror answers or the signature is not good.
    """
    failures = []
    for base in mirrors:
        url = f"{base}/dists/{suite}/InRelease"
        try:
            content = _get(url)
        except (OSError, ValueError) as error:
            failures.append(f"{redacted(url)}: {error}")
            continue
        return parse_release(verified(content, keyring=keyring, of=redacted(url)), base=base)
    raise BazelRootError(
        "no mirror has the suite " + suite + ":\n  " + "\n  ".join(failures or ["no mirror is known"])
        + "\nSet DEBIAN_MIRROR to the base URL of a Debian mirror."
    )


def verified(signed: bytes, *, keyring: Path, of: str) -> str:
    """Returns the text that the signature covers, and only that.

    Raises BazelRootError when gpgv or the keyring is missing or the signature is not good.
    """
    gpgv = shutil.which("gpgv")
    if gpgv is None or not keyring.is_file():
        raise BazelRootError(
            f"cannot verify {of}: need gpgv and {keyring} (packages gpgv and debian-archive-keyring)"
        )
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "InRelease"), Path(directory, "Release")
        source.write_bytes(signed)
        command = [gpgv, "--keyring", str(keyring), "--output", str(target), str(source)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if result.returncode != 0:
            raise BazelRootError(f"{of}: signature is not good by {keyring}:\n{result.stderr.strip()}")
        return target.read_text(encoding="utf-8")


def parse_release(text: str, *, base: str) -> Release:
    """Reads the fields and the SHA256 table of a Release file."""
    fields: dict[str, str] = {}
    hashes: dict[str, str] = {}
    last = ""
    for line in text.splitlines():
        if line[:1] == " " and last == "SHA256":
            digest, _size, name = line.split()
            hashes[name] = digest
        elif line[:1] != " " and ":" in line:
            last, _, value = line.partition(":")
            fields[last] = value.strip()
    if "Date" not in fields or not hashes:
        raise BazelRootError(f"{redacted(base)}: its Release file has no Date or no SHA256 table")
    return Release(fields, hashes, base)


def fetch_packages(release: Release, *, suite: str, component: str, arch: str) -> dict[str, dict[str, str]]:
    """Returns the index of one architecture: package name to the fields of its stanza.

    Raises BazelRootError when the index is missing, differs from the signed hash, or names a package
    twice.
    """
    name = f"{component}/binary-{arch}/Packages.xz"
    digest = release.hashes.get(name)
    if digest is None:
        raise BazelRootError(f"{suite}: its Release names no {name}")
    url = f"{release.base}/dists/{suite}/{component}/binary-{arch}/by-hash/SHA256/{digest}"
    try:
        content = _get(url)
    except (OSError, ValueError) as error:
        raise BazelRootError(f"{redacted(url)}: {error}; the mirror is incomplete, try another") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise BazelRootError(f"{redacted(url)}: sha256 is {found}, the signed Release says {digest}")
    packages: dict[str, dict[str, str]] = {}
    for stanza in lzma.decompress(content).decode("utf-8").split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", stanza, flags=re.MULTILINE))
        if fields:
            if fields["Package"] in packages:
                raise BazelRootError(f"{suite} {arch}: two versions of {fields['Package']}; one expected")
            packages[fields["Package"]] = fields
    return packages


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
        content: bytes = response.read()
        return content


def _date(text: str) -> datetime:
    return parsedate_to_datetime(text.replace("UTC", "+0000")).astimezone(timezone.utc)
