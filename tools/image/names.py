"""Names of repositories and tags, as the distribution specification 1.1 and Docker spell them.

registry.example:5000/team/app:v1    a host, a repository, a tag
app:v1                               no host: Docker takes its own registry
"""

from __future__ import annotations

import re

from tools.cli import ToolError

# distribution-spec 1.1, "Pulling manifests": <name> and <reference>.
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?)(:[0-9]{1,5})?")


def split_host(text: str) -> tuple[str, str]:
    """Return host and repository of a name; the host is "" if there is none.

    As in Docker, the first part is a host if no repository could begin like that.
    """
    first, slash, rest = text.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    return (first, rest) if slash and is_host else ("", text)


def check_host(host: str, *, what: str) -> None:
    """Raise ToolError, which begins with `what`, for what is not a host with or without a port."""
    if not _HOST.fullmatch(host):
        raise ToolError(f"{what}: '{host}' is not a host name")


def check_name(name: str, *, what: str) -> None:
    """Raise ToolError, which begins with `what`, for an invalid name of a repository."""
    if not _NAME.fullmatch(name):
        raise ToolError(
            f"{what}: '{name}' must be lower-case letters and digits, "
            "in parts separated by '/', '.', '_' or '-'"
        )


def parse_tag(text: str) -> str:
    """Check a tag; raise ToolError for an invalid one."""
    if not _TAG.fullmatch(text):
        raise ToolError(
            f"tag '{text}' must be 1 to 128 letters, digits, '_', '.' or '-', "
            "and not begin with '.' or '-'"
        )
    return text


def check_image_name(text: str, *, tag_needed: bool) -> None:
    """Raise ToolError for what no engine takes as an image's name, `[HOST/]NAME[:TAG]`."""
    what = f"image name '{text}'"
    host, rest = split_host(text)
    name, colon, tag = rest.partition(":")
    if "@" in text:
        raise ToolError(f"{what} must not have a digest; the image has its own")
    if host:
        check_host(host, what=what)
    check_name(name, what=what)
    if colon:
        parse_tag(tag)
    elif tag_needed:
        raise ToolError(f"{what} has no tag; write '{text}:latest', for instance")
