"""Edits of an image, read from text files → changes to its config document.

Pure functions over parsed JSON. The formats of the files are those of rules_oci 2.x
(reference: `oci_image` in its API), the members those of image-spec config.md:
one argument a line, one `key=value` a line, sets separated by commas or newlines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from tools.cli import ToolError

T = TypeVar("T")

# How rules_oci writes a newline inside an argument: a bare one would end the argument.
NEWLINE_IN_ARGUMENT = "%5Cn"

_REFERENCE = re.compile(r"\$\{?([a-zA-Z0-9_]+)\}?")
_PORT = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?")
# RFC 3339, section 5.6, which image-spec demands of every `created`.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True)
class ImageEdits:
    """What to set in an image. None keeps what the base has."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    user: str | None = None
    workdir: str | None = None
    created: str | None = None


def object_of(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an optional object of an image's document; raise ToolError for another type."""
    value = {} if document.get(name) is None else document[name]
    if not isinstance(value, dict):
        raise ToolError(f"the image's member '{name}' must be an object, found {value!r}")
    return value


def list_of(document: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    """Return an optional list of an image's document; raise ToolError for another type."""
    value = [] if document.get(name) is None else document[name]
    if not isinstance(value, list) or not all(isinstance(item, kind) for item in value):
        wanted = "strings" if kind is str else "objects"
        raise ToolError(f"the image's member '{name}' must be a list of {wanted}, found {value!r}")
    return value


def parse_arguments(text: str) -> tuple[str, ...]:
    """Return the arguments, one a line; an empty line is an argument, except at the end."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return tuple(line.replace(NEWLINE_IN_ARGUMENT, "\n") for line in lines)


def parse_pairs(text: str, *, what: str) -> tuple[tuple[str, str], ...]:
    """Return `key=value` lines in their order, split at the first `=`, without blank lines.

    Raise ToolError naming `what` and the line that has no `=` or no key.
    """
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        key, separator, value = line.partition("=")
        if not separator or not key:
            raise ToolError(f"{what}: line {number} must be 'key=value', found {line!r}")
        pairs.append((key, value))
    return tuple(pairs)


def parse_set(text: str) -> tuple[str, ...]:
    """Return the members separated by commas or newlines, trimmed and without empty ones."""
    members = (member.strip() for member in re.split(r"[,\n]", text))
    return tuple(member for member in members if member)


def parse_ports(text: str) -> tuple[str, ...]:
    """Return a set of ports, as image-spec writes them: `8000`, `8000/tcp`, `9000-9010/udp`."""
    ports = parse_set(text)
    for port in ports:
        if not _PORT.fullmatch(port):
            raise ToolError(
                f"exposed_ports: must be 'port', 'port/tcp', 'port/udp' or 'port/sctp', "
                f"found {port!r}"
            )
    return ports


def parse_time(text: str) -> str:
    """Return a time in RFC 3339, without the newline at the end of most files."""
    time = text.strip()
    try:
        valid = _TIME.fullmatch(time) is not None
        datetime.fromisoformat(time)
    except ValueError:
        valid = False
    if not valid:
        raise ToolError(f"created: must be a time such as 1970-01-01T00:00:00Z, found {time!r}")
    return time


def merge_env(base: Sequence[str], added: Sequence[tuple[str, str]]) -> list[str]:
    """Return `base` with `added`: a known key changes in place, a new one is appended.

    `$NAME` and `${NAME}` in an added value are the value of NAME at that point, from the base or an
    earlier addition; an unset name is empty, as in a shell and in rules_oci.
    """
    env: dict[str, str] = {}
    for entry in base:
        key, _, value = entry.partition("=")
        env[key] = value
    for key, raw in added:
        env[key] = _REFERENCE.sub(lambda match: env.get(match[1], ""), raw)
    return [f"{key}={value}" for key, value in env.items()]


def apply_edits(config: Mapping[str, Any], edits: ImageEdits) -> dict[str, Any]:
    """Return the image config with `edits` merged in; `config` itself does not change.

    Annotations are not part of it: they belong to the manifest.
    """
    run = dict(object_of(config, "config"))
    if edits.entrypoint is not None:
        run["Entrypoint"] = list(edits.entrypoint)
        # The base's command holds default arguments for the base's entrypoint.
        run.pop("Cmd", None)
    if edits.cmd is not None:
        run["Cmd"] = list(edits.cmd)
    if edits.env:
        run["Env"] = merge_env(list_of(run, "Env", str), edits.env)
    if edits.labels:
        run["Labels"] = {**object_of(run, "Labels"), **dict(edits.labels)}
    for key, names in (("ExposedPorts", edits.exposed_ports), ("Volumes", edits.volumes)):
        if names:
            run[key] = {**object_of(run, key), **{name: {} for name in names}}
    if edits.user:
        run["User"] = edits.user
    if edits.workdir:
        run["WorkingDir"] = edits.workdir
    merged = {**config, "config": run}
    if edits.created is not None:
        merged["created"] = edits.created
    return merged
