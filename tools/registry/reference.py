"""Names of repositories and tags, as the distribution specification 1.1 and Docker spell them."""

from __future__ import annotations

import re
from dataclasses import dataclass

# distribution-spec 1.1, "Pulling manifests": <name> and <reference>.
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?)(:[0-9]{1,5})?")

# Docker Hub is known by one name and served under another.
_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_SERVER = "registry-1.docker.io"
_HUB_CREDENTIALS = "index.docker.io"


class InvalidReferenceError(Exception):
    """A repository or tag is not spelled as the specification demands; quotes it."""


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
    """Read `HOST[:PORT]/NAME`; a first part that is no host means Docker Hub, as everywhere.

    Raises InvalidReferenceError for anything else, a tag or digest included.
    """
    authority, slash, _ = text.rpartition("://")[2].partition("/")
    if slash and "@" in authority:
        # Not quoted: what stands before the @ may be a password.
        raise InvalidReferenceError(
            "the repository must not hold a user's name or password; "
            "log in with 'docker login' or 'podman login'"
        )
    if "@" in text:
        raise InvalidReferenceError(
            f"repository '{text}' must not have a digest; it is pushed by its own"
        )
    first, slash, rest = text.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    host, name = (first, rest) if is_host else ("index.docker.io", text)
    if ":" in name:
        raise InvalidReferenceError(
            f"repository '{text}' must not have a tag; tags are given by --tag"
        )
    if host in _HUB_NAMES and "/" not in name:
        name = f"library/{name}"
    if not _HOST.fullmatch(host):
        raise InvalidReferenceError(f"repository '{text}': '{host}' is not a host name")
    if not _NAME.fullmatch(name):
        raise InvalidReferenceError(
            f"repository '{text}': '{name}' must be lower-case letters and digits, "
            "in parts separated by '/', '.', '_' or '-'"
        )
    return Repository(host=host, name=name)


def parse_tag(text: str) -> str:
    """Check a tag; raises InvalidReferenceError."""
    if not _TAG.fullmatch(text):
        raise InvalidReferenceError(
            f"tag '{text}' must be 1 to 128 letters, digits, '_', '.' or '-', "
            "and begin with none of the last two"
        )
    return text
