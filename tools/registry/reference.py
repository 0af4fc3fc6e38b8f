"""Names of repositories and tags, as the distribution specification 1.1 and Docker spell them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tools.cli import ToolError

# distribution-spec 1.1, "Pulling manifests": <name> and <reference>.
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?)(:[0-9]{1,5})?")

# Docker Hub is named after one host and served by another.
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_SERVER = "registry-1.docker.io"
_HUB_CREDENTIALS = "index.docker.io"


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
    first, slash, rest = text.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, name = (first, rest) if is_host else ("index.docker.io", text)
    if ":" in name:
        raise ToolError(f"repository '{text}' must not have a tag; set tags with --tag")
    if host in _HUB_NAMES and "/" not in name:
        name = f"library/{name}"
    if not _HOST.fullmatch(host):
        raise ToolError(f"repository '{text}': '{host}' is not a host name")
    if not _NAME.fullmatch(name):
        raise ToolError(
            f"repository '{text}': '{name}' must be lower-case letters and digits, "
            "in parts separated by '/', '.', '_' or '-'"
        )
    return Repository(host=host, name=name)


def parse_tag(text: str) -> str:
    """Check a tag; raise ToolError for an invalid one."""
    if not _TAG.fullmatch(text):
        raise ToolError(
            f"tag '{text}' must be 1 to 128 letters, digits, '_', '.' or '-', "
            "and not begin with '.' or '-'"
        )
    return text
