"""The repository that a user names, and where its registry and its credentials are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.cli import ToolError
from tools.image.names import check_host, check_name, parse_tag, split_host

# Docker Hub is named after one host and served by another.
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_SERVER = "registry-1.docker.io"
_HUB_CREDENTIALS = "index.docker.io"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Repository:
    """A repository: `host` (with port, as the user wrote it) and `name` within the registry."""

    host: str
    name: str

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"

    @property
    def server(self) -> str:
        """The host and port to connect to."""
        return _HUB_SERVER if self.host in _HUB_NAMES else self.host

    @property
    def credentials_host(self) -> str:
        """The host under which credentials are filed."""
        return _HUB_CREDENTIALS if self.host in _HUB_NAMES else self.host


def parse_repository(text: str) -> Repository:
    """Read `HOST[:PORT]/NAME`; without a host it is a repository of Docker Hub, as in Docker.

    Raise ToolError for anything else, also for a tag or digest.
    """
    authority, slash, _ = text.rpartition("://")[2].partition("/")
    if slash and "@" in authority:
        # Not quoted: the part before the @ may be a password.
        raise ToolError(
            "the repository must not contain a user name or password; "
            "log in with 'docker login' or 'podman login'"
        )
    if "@" in text:
        raise ToolError(f"repository '{text}' must not have a digest; the image has its own")
    host, name = split_host(text)
    host = host or "index.docker.io"
    if ":" in name:
        raise ToolError(f"repository '{text}' must not have a tag; set tags with --tag")
    if host in _HUB_NAMES and "/" not in name:
        name = f"library/{name}"
    check_host(host, what=f"repository '{text}'")
    check_name(name, what=f"repository '{text}'")
    return Repository(host=host, name=name)


@dataclass(frozen=True)
class Reference:
    """An image in a repository, by tag or digest, or the repository alone."""

    repository: Repository
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Read `HOST[:PORT]/NAME[:TAG][@DIGEST]`; raise ToolError for anything else."""
    rest, at, digest = text.rpartition("@") if "@sha" in text else (text, "", "")
    if at and not _DIGEST.fullmatch(digest):
        raise ToolError(
            f"reference '{text}': a digest must be 'sha256:' and 64 lower-case hexadecimal digits"
        )
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        # Docker Hub's `app:v1` has no slash; a host's port is followed by one.
        path, tag = rest, ""
    return Reference(
        repository=parse_repository(path),
        tag=parse_tag(tag) if tag else None,
        digest=digest or None,
    )
