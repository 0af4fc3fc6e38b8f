"""Make the signed archive that the tests of the lock command read, with keys of its own.

    python3 -m tools.apt.testdata.make_archive --out tools/apt/testdata

Needs gpg, which the tests do not. The keys are thrown away, so every run gives another archive.
Its Valid-Until is long past: the tests want both answers to that.
"""

import argparse
import hashlib
import lzma
import subprocess
import tempfile
from collections.abc import Sequence
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
Suite: oldstable
Codename: bookworm
Date: Wed, 01 Jan 2020 00:00:00 UTC
Valid-Until: Wed, 08 Jan 2020 00:00:00 UTC
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


def _key(home: str, *, name: str, expires: str = "never") -> None:
    _gpg(home, ["--quick-generate-key", name, "ed25519", "sign", expires])


def _packages(architecture: str) -> bytes:
    records = [
        ("application", "2.0-1", "library (>= 1.5), helper"),
        ("library", "1.10-1", ""),
        ("library", "1.9-1", ""),
        ("helper", "1", ""),
    ]
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


def main(argv: list[str] | None = None) -> int:
    """Write the archive, the keyring that trusts it and one that does not."""
    parser = argparse.ArgumentParser(description="Make a small signed archive for tests.")
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    out = parser.parse_args(argv).out
    suite = out / "archive/dists/bookworm"
    release = _RELEASE
    for architecture in ("amd64", "arm64"):
        path = suite / f"main/binary-{architecture}/Packages.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = _packages(architecture)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        release += f" {digest} {len(content)} {path.relative_to(suite)}\n"
    with tempfile.TemporaryDirectory() as home:
        _key(home, name="archive")
        _key(home, name="stranger")
        _key(home, name="expired", expires="1d")
        sign = ["--clear-sign", "--local-user"]
        signed = _gpg(home, [*sign, "archive"], stdin=release.encode())
        (suite / "InRelease").write_bytes(signed)
        signed = _gpg(home, [*sign, "expired"], stdin=release.encode())
        (out / "expired_key.InRelease").write_bytes(signed)
        (out / "keyring.gpg").write_bytes(_gpg(home, ["--export", "archive", "expired"]))
        (out / "stranger.gpg").write_bytes(_gpg(home, ["--export", "stranger"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
