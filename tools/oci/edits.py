"""The files and values an image is configured with -> changes to its config document.

Pure functions over parsed JSON. The formats of the files are those of rules_oci 2.x
(reference: `oci_image` in its API), the members those of image-spec config.md:
arguments one a line, pairs `key=value` one a line, sets separated by commas or new lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# How rules_oci writes a new line inside an argument: a bare one would end the argument.
NEWLINE_IN_ARGUMENT = "%5Cn"

_REFERENCE = re.compile(r"\$\{?([a-zA-Z0-9_]+)\}?")
_PORT = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?")
# RFC 3339, section 5.6, which image-spec demands of every `created`.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class SettingsError(Exception):
    """A setting cannot be used; says which, what was wanted and what was found."""


@dataclass(frozen=True)
class Settings:
    """What a caller sets. None means: leave what the base has."""

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


def parse_arguments(text: str) -> tuple[str, ...]:
    """One argument a line; empty ones count, the new line that ends the file does not start one."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return tuple(line.replace(NEWLINE_IN_ARGUMENT, "\n") for line in lines)


def parse_pairs(text: str, *, what: str) -> tuple[tuple[str, str], ...]:
    """`key=value` lines in their order, split at the first `=`; blank lines are skipped.

    Raises SettingsError naming `what` and the line that has no `=` or no key.
    """
    pairs = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        key, separator, value = line.partition("=")
        if not separator or not key:
            raise SettingsError(f"{what}: line {number} must be 'key=value', found {line!r}")
        pairs.append((key, value))
    return tuple(pairs)


def parse_set(text: str) -> tuple[str, ...]:
    """Members separated by commas or new lines, without surrounding blanks or empty members."""
    members = (member.strip() for member in re.split(r"[,\n]", text))
    return tuple(member for member in members if member)


def parse_ports(text: str) -> tuple[str, ...]:
    """A set of ports as image-spec writes them: `8000`, `8000/tcp`, `9000-9010/udp`."""
    ports = parse_set(text)
    for port in ports:
        if not _PORT.fullmatch(port):
            raise SettingsError(
                f"exposed_ports: must be 'port', 'port/tcp', 'port/udp' or 'port/sctp', "
                f"found {port!r}"
            )
    return ports


def parse_time(text: str) -> str:
    """A time in RFC 3339, without the new line that most ways of writing a file add."""
    time = text.strip()
    try:
        valid = _TIME.fullmatch(time) is not None
        datetime.fromisoformat(time)
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(f"created: must be a time such as 1970-01-01T00:00:00Z, found {time!r}")
    return time


def merge_env(base: Sequence[str], added: Sequence[tuple[str, str]]) -> list[str]:
    """`added` over `base` (both in order): a known key changes in place, a new one is appended.

    `$NAME` and `${NAME}` in an added value mean the value NAME has at that point, base and
    earlier additions included; an unset name is empty, as in a shell and in rules_oci.
    """
    env: dict[str, str] = {}
    for entry in base:
        key, _, value = entry.partition("=")
        env[key] = value
    for key, raw in added:
        env[key] = _REFERENCE.sub(lambda match: env.get(match[1], ""), raw)
    return [f"{key}={value}" for key, value in env.items()]


def apply_settings(config: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The image config `config` with `settings` merged in; `config` itself is not changed.

    `annotations` are not of the config: whoever writes the manifest merges them there.
    """
    run = dict(config.get("config") or {})
    if settings.entrypoint is not None:
        run["Entrypoint"] = list(settings.entrypoint)
        # A command is the default arguments of the entrypoint it was written for.
        run.pop("Cmd", None)
    if settings.cmd is not None:
        run["Cmd"] = list(settings.cmd)
    if settings.env:
        run["Env"] = merge_env(run.get("Env") or [], settings.env)
    if settings.labels:
        run["Labels"] = {**(run.get("Labels") or {}), **dict(settings.labels)}
    for member, names in (("ExposedPorts", settings.exposed_ports), ("Volumes", settings.volumes)):
        if names:
            run[member] = {**(run.get(member) or {}), **{name: {} for name in names}}
    if settings.user:
        run["User"] = settings.user
    if settings.workdir:
        run["WorkingDir"] = settings.workdir
    merged = {**config, "config": run}
    if settings.created is not None:
        merged["created"] = settings.created
    return merged
