"""A directory in which tests run the lock command, on the signed archives of testdata."""

import shutil
from pathlib import Path

import pytest

from tools.apt.gpgv_for_test import KEYRING, TESTDATA, verifier
from tools.apt.lock import main

INTENT = """\
suites: [{archive: debian, suite: bookworm, component: main}]
architectures: [amd64, arm64]
timestamp: 2020-01-02T00:00:00Z
image: {base: {packages: {application: it is wanted}}}
exclude_packages: {helper: nothing needs it}
exclude_paths: [{reason: documentation, globs: [usr/share/man/**]}]
tools: {service: {packages: {library: a tool}}}
"""


class Workspace:
    """A directory with an intent, a mirror of testdata's archive, and the command's flags."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mirror = directory / "debian"
        self.serve("archive")
        self.lock = directory / "x.lock.json"
        (directory / "x.yaml").write_text(INTENT, encoding="utf-8")
        monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(directory))
        monkeypatch.setenv("DEBIAN_MIRROR", self.mirror.as_uri())
        security = (TESTDATA / "security").resolve()
        monkeypatch.setenv("DEBIAN_SECURITY_MIRROR", security.as_uri())
        # The tests' own gpgv, behind a launcher, since the command wants one program.
        command = verifier().command
        self.gpgv = directory / "run_gpgv"
        self.gpgv.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n', encoding="utf-8")
        self.gpgv.chmod(0o755)

    def run(self, *flags: str, keyring: Path = KEYRING) -> int:
        """Run the lock command and return its exit code."""
        return main(
            [
                *("--intent", "x.yaml", "--lock", "x.lock.json", *flags),
                *("--command", "bazel run //app:lock"),
                *("--gpgv", str(self.gpgv), "--keyring", str(keyring.resolve())),
            ]
        )

    def serve(self, archive: str, *, signed: str = "") -> None:
        """Let the mirror have this archive of testdata, and the InRelease `signed` for it."""
        shutil.rmtree(self.mirror, ignore_errors=True)
        shutil.copytree(TESTDATA / archive, self.mirror)
        if signed:
            content = (TESTDATA / f"signed/{signed}.InRelease").read_bytes()
            (self.mirror / "dists/bookworm/InRelease").write_bytes(content)

    def edit(self, path: str, old: bytes, new: bytes) -> None:
        """Change a file of the mirror."""
        file = self.mirror / "dists/bookworm" / path
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new, 1))
