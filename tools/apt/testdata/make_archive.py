"""Make the signed archives that the tests of the lock command read, with keys of their own.

    archive/    bookworm of 1 January 2020, and its updates of a day later, with an older library
    old/        bookworm of half a year before, with a library that is older still
    security/   bookworm-security of a month later
    signed/     the index of archive/, signed or dated in ways that must be refused

    python3 -m tools.apt.testdata.make_archive --out tools/apt/testdata

Needs gpg, which the tests do not. The keys are thrown away, so every run gives other archives.
Their Valid-Until is long past: the tests want both answers to that.
"""

import argparse
import hashlib
import lzma
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

_RECORD = """\
Package: {name}
Version: {version}
Architecture: {architecture}
Depends: {depends}
Filename: pool/main/{name}_{version}_{architecture}.deb
Size: 1000
SHA256: {sha256}

"""
_RELEASE = """\
Origin: Test
Suite: {suite}
Codename: {suite}
Date: {date}
Valid-Until: {until}
Architectures: amd64 arm64
Components: main
SHA256:
"""


def _gpg(home: str, arguments: Sequence[str], *, stdin: bytes = b"") -> bytes:
    # A fixed time: gpgv refuses a key that is younger than the machine's clock.
    fixed = ["--faked-system-time", "20200101T000000", "--no-permission-warning"]
    command = ["gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "", *fixed]
    command += arguments
    return subprocess.run(command, check=True, input=stdin, stdout=subprocess.PIPE).stdout


def _key(home: str, *, name: str, algorithm: str = "ed25519", expires: str = "never") -> None:
    _gpg(home, ["--quick-generate-key", name, algorithm, "sign", expires])


def _packages(architecture: str, *, records: Sequence[tuple[str, str, str]]) -> bytes:
    text = "".join(
        _RECORD.format(
            name=name,
            version=version,
            architecture=architecture,
            depends=depends,
            sha256=hashlib.sha256(f"{name} {version} {architecture}".encode()).hexdigest(),
        )
        for name, version, depends in records
    )
    return lzma.compress(text.encode())


def _release(
    directory: Path, suite: str, *, day: date, records: Sequence[tuple[str, str, str]]
) -> str:
    """Write the indexes of a suite and return its Release."""
    suite_directory = directory / "dists" / suite
    release = _dated(suite, day)
    for architecture in ("amd64", "arm64"):
        path = suite_directory / f"main/binary-{architecture}/Packages.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = _packages(architecture, records=records)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        release += f" {digest} {len(content)} {path.relative_to(suite_directory)}\n"
    return release


def _dated(suite: str, day: date) -> str:
    wanted = "%a, %d %b %Y 00:00:00 UTC"
    until = (day + timedelta(days=7)).strftime(wanted)
    return _RELEASE.format(suite=suite, date=day.strftime(wanted), until=until)


def main(argv: list[str] | None = None) -> int:
    """Write the archives, the keyring that trusts them and one that does not."""
    parser = argparse.ArgumentParser(description="Make small signed archives for tests.")
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    out = parser.parse_args(argv).out
    records = [
        ("application", "2.0-1", "library (>= 1.2), helper"),
        ("library", "1.10-1", ""),
        ("library", "1.9-1", ""),
        ("helper", "1", ""),
    ]
    before = [("library", "1.2-1", "") if record[0] == "library" else record for record in records]
    new_year = date(2020, 1, 1)
    release = _release(out / "archive", "bookworm", day=new_year, records=records)
    releases = {
        "archive/dists/bookworm": release,
        "old/dists/bookworm": _release(
            out / "old", "bookworm", day=date(2019, 7, 1), records=before
        ),
        "archive/dists/bookworm-updates": _release(
            out / "archive",
            "bookworm-updates",
            day=new_year + timedelta(days=1),
            records=[("library", "1.9-1", "")],
        ),
        "security/dists/bookworm-security": _release(
            out / "security",
            "bookworm-security",
            day=date(2020, 2, 1),
            records=[("unrelated", "1", "")],
        ),
    }
    (out / "signed").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        for name in ("archive", "stranger"):
            _key(home, name=name)
        _key(home, name="expired", expires="1d")
        for name in ("rsa1024", "rsa2048", "dsa2048"):
            _key(home, name=name, algorithm=name)

        def sign(text: str, *keys: str, digest: str = "SHA512") -> bytes:
            by = [word for key in keys for word in ("--local-user", key)]
            return _gpg(home, ["--digest-algo", digest, *by, "--clear-sign"], stdin=text.encode())

        for path, text in releases.items():
            (out / path / "InRelease").write_bytes(sign(text, "archive"))
        future = release.replace(_dated("bookworm", new_year), _dated("bookworm", date(2099, 1, 1)))
        for name, content in {
            "expired_key": sign(release, "expired"),
            "rsa2048": sign(release, "rsa2048"),
            "rsa1024": sign(release, "rsa1024"),
            "rsa1024_and_archive": sign(release, "rsa1024", "archive"),
            "dsa2048": sign(release, "dsa2048", digest="SHA256"),
            "sha1": sign(release, "rsa2048", digest="SHA1"),
            "sha224": sign(release, "rsa2048", digest="SHA224"),
            "of_2099": sign(future, "archive"),
        }.items():
            (out / "signed" / f"{name}.InRelease").write_bytes(content)
        trusted = ["archive", "expired", "rsa1024", "rsa2048", "dsa2048"]
        (out / "keyring.gpg").write_bytes(_gpg(home, ["--export", *trusted]))
        (out / "stranger.gpg").write_bytes(_gpg(home, ["--export", "stranger"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
