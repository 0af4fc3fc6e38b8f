"""No repository of this workspace comes from anywhere but a Debian mirror and a Python index."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tools.cli import ToolError
from tools.proof.origins import downloads, main

_LOCK = {
    "snapshot": "20260711T000000Z",
    "groups": {"toolchain": {"amd64": ["libc6"], "arm64": []}},
    "packages": [
        {
            "name": "libc6",
            "arch": "amd64",
            "archive": "debian",
            "filename": "pool/main/g/glibc/libc6_2_amd64.deb",
            "sha256": "a" * 64,
        }
    ],
}
_LOCKS = {"third_party/debian:lock.json": _LOCK}
_TREE = {
    "kind": "deb_tree",
    "name": "cpython",
    "lock": "@@//third_party/debian:lock.json",
    "groups": ["toolchain"],
}


def test_this_workspace_asks_only_the_two_origins(capsys: pytest.CaptureFixture[str]) -> None:
    repositories = os.environ["DECLARED_REPOSITORIES"]
    locks = os.environ["LOCKS"].split()
    status = main(["--repositories", repositories, *(f"--lock={lock}" for lock in locks)])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    origins = set()
    for line in printed.out.splitlines():
        origin = re.match(
            r"[0-9a-f]{64}  (<debian>/pool/|<debian-security>/pool/|<index>/"
            r"|https://snapshot\.debian\.org/archive/)",
            line,
        )
        assert origin, line
        origins.add(origin[1])
    # All four are in use, so the list is not empty by mistake.
    assert len(origins) == 4


def test_every_declared_repository_was_read() -> None:
    names = {
        repository["name"]
        for repository in json.loads(Path(os.environ["DECLARED_REPOSITORIES"]).read_text())
    }
    assert {"pinned_image_cpython", "rules_python", "pinned_image_pypi", "pypi_amd64"} <= names


def test_a_group_is_listed_with_its_mirror_and_the_permanent_fallback() -> None:
    assert [download.url for download in downloads([_TREE], _LOCKS)] == [
        "<debian>/pool/main/g/glibc/libc6_2_amd64.deb",
        "https://snapshot.debian.org/archive/debian/20260711T000000Z/pool/main/g/glibc/libc6_2_amd64.deb",
    ]


@pytest.mark.parametrize("kind", ["http_archive", "git_repository", "http_file"])
def test_another_kind_of_repository_is_refused(kind: str) -> None:
    with pytest.raises(ToolError, match=f"repository other is a {kind}"):
        downloads([{"kind": kind, "name": "other", "url": "https://example.org/x"}], {})


def test_a_download_without_hash_is_refused() -> None:
    wheel = {"kind": "wheel_file", "name": "w", "filename": "w-1-py3-none-any.whl", "sha256": ""}
    with pytest.raises(ToolError, match="is not pinned"):
        downloads([wheel], {})


def test_a_lock_that_was_not_given_is_an_error() -> None:
    archive: dict[str, Any] = {**_TREE, "kind": "deb_archive", "package": "libc6"}
    with pytest.raises(ToolError, match=r"its lock //third_party/debian:lock\.json was not given"):
        downloads([archive], {})
