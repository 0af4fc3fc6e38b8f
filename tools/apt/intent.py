"""Reads what people ask of Debian: third_party/debian/bookworm.yaml, described in the README there.

What it does not know it refuses.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from tools.apt.index import Suite
from tools.apt.paths import Exclusions


class IntentError(Exception):
    """The file asks for something that cannot be understood; the message names file and key."""


@dataclass(frozen=True)
class Group:
    """Packages asked for by name, and packages left out of the group's closure, with reasons."""

    name: str
    packages: Mapping[str, str]
    exclude_packages: Mapping[str, str]


@dataclass(frozen=True)
class PathRule:
    """Files of the image's packages that are left out of its layers."""

    glob: str
    reason: str


@dataclass(frozen=True)
class Intent:
    """The whole file. `image` is resolved as one closure, each group of `tools` as its own.

    `timestamp` is in seconds since the epoch.
    """

    suites: tuple[Suite, ...]
    architectures: tuple[str, ...]
    timestamp: int
    image: tuple[Group, ...]
    tools: tuple[Group, ...]
    exclude_packages: Mapping[str, str]
    exclude_paths: tuple[PathRule, ...]
    sha256: str

    def requested(self) -> tuple[str, ...]:
        """Return the names asked for by the image's groups, in the order of the file."""
        return tuple(name for group in self.image for name in group.packages)


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, and a key written twice is an error instead of the last one winning."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 -- PyYAML's signature
    ) -> dict[object, object]:
        # `<<: *anchor` merges shared exclusions in; what it brings may be overridden.
        keys = [
            self.construct_object(key, deep=True)
            for key, _ in node.value
            if key.tag != "tag:yaml.org,2002:merge"
        ]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"written twice: {', '.join(twice)}", node.start_mark
            )
        return dict(super().construct_mapping(node, deep=deep))


def read_intent(path: Path) -> Intent:
    """Return the intent in `path`; raises IntentError naming file and key."""
    try:
        text = path.read_text(encoding="utf-8")
        return _intent(yaml.load(text, Loader=_Loader))  # noqa: S506 (a safe loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, IntentError) as error:
        raise IntentError(f"{path}: {error}") from error


def _intent(data: object) -> Intent:
    top = _mapping(
        data,
        "the file",
        keys={
            "suites",
            "architectures",
            "timestamp",
            "image",
            "exclude_packages",
            "exclude_paths",
            "tools",
        },
    )
    suites = []
    for item in _list(top["suites"], "suites"):
        suite = _mapping(item, "suites", keys={"archive", "suite", "component"})
        suites.append(
            Suite(
                archive=_text(suite["archive"], "suites: archive"),
                name=_text(suite["suite"], "suites: suite"),
                component=_text(suite["component"], "suites: component"),
            )
        )
    rules: list[PathRule] = []
    for item in _list(top["exclude_paths"], "exclude_paths"):
        rule = _mapping(item, "exclude_paths", keys={"globs", "reason"})
        reason = _text(rule["reason"], "exclude_paths: reason")
        rules += [
            PathRule(glob=_glob(glob), reason=reason)
            for glob in _list(rule["globs"], "exclude_paths: globs")
        ]
    # The one value that is no text is the time.
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str)
    return Intent(
        suites=tuple(suites),
        architectures=tuple(
            _text(name, "architectures") for name in _list(top["architectures"], "architectures")
        ),
        timestamp=_seconds(top["timestamp"], "timestamp"),
        image=_groups(top["image"], "image"),
        tools=_groups(top["tools"], "tools"),
        exclude_packages=_reasons(top["exclude_packages"], "exclude_packages"),
        exclude_paths=tuple(rules),
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
    )


def _groups(data: object, where: str) -> tuple[Group, ...]:
    groups = []
    for name, value in _mapping(data, where).items():
        label = f"{where}: {name}"
        body = _mapping(value, label)
        unknown = set(body) - {"packages", "exclude_packages"}
        if unknown or "packages" not in body:
            raise IntentError(
                f"{label}: wants packages and perhaps exclude_packages, found {sorted(body)}"
            )
        excluded = body.get("exclude_packages", {})
        # The image has one list of exclusions for all its groups: they are one closure.
        if excluded and where == "image":
            raise IntentError(f"{label}: exclude_packages belongs at the top level for the image")
        groups.append(
            Group(
                name=name,
                packages=_reasons(body["packages"], f"{label}: packages"),
                exclude_packages=_reasons(excluded, f"{label}: exclude_packages"),
            )
        )
    return tuple(groups)


def _reasons(data: object, where: str) -> dict[str, str]:
    return {
        name: _text(reason, f"{where}: the reason of {name}")
        for name, reason in _mapping(data, where).items()
    }


def _mapping(data: object, where: str, *, keys: set[str] | None = None) -> dict[str, object]:
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise IntentError(f"{where}: wants names and values, found {data!r}")
    if keys is not None and set(data) != keys:
        raise IntentError(f"{where}: wants the keys {sorted(keys)}, found {sorted(data)}")
    return data


def _list(data: object, where: str) -> list[object]:
    if not isinstance(data, list) or not data:
        raise IntentError(f"{where}: wants a list that is not empty, found {data!r}")
    return data


def _glob(data: object) -> str:
    glob = _text(data, "exclude_paths: globs")
    try:
        Exclusions((glob,)).match("")
    except ValueError as error:
        raise IntentError(f"exclude_paths: {error}") from error
    return glob


def _seconds(data: object, where: str) -> int:
    if not isinstance(data, datetime) or data.tzinfo is None or data.timestamp() < 0:
        raise IntentError(
            f"{where}: wants a time since 1970 such as 2026-01-31T00:00:00Z, found {data!r}"
        )
    return int(data.timestamp())


def _text(data: object, where: str) -> str:
    if not isinstance(data, str) or not data.strip():
        raise IntentError(f"{where}: wants text, found {data!r}")
    return data
