"""Read an intent: what people ask of a Debian archive, such as third_party/debian/bookworm.yaml.

    suites: [{archive: debian, suite: bookworm, component: main}]
    architectures: [amd64, arm64]
    timestamp: 2026-01-31T00:00:00Z
    image:
      base:
        packages:
          libc6: the C library

third_party/debian/README.md explains every key. Unknown keys and missing reasons are errors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    TypeAdapter,
    model_validator,
)

from tools.apt.index import Suite
from tools.apt.yaml_model import Model, Text, load_yaml, validate
from tools.archive.globs import Exclusions


def _by_name(data: Any) -> Any:
    """Return `[{reason: R, packages: [A, B]}]`, or one of these, as `{A: R, B: R}`."""
    groups = data if isinstance(data, list) else [data]
    if not all(isinstance(each, dict) and set(each) == {"reason", "packages"} for each in groups):
        return data
    names = [name for each in groups for name in each["packages"]]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"named twice: {', '.join(twice)}")
    return {name: each["reason"] for each in groups for name in each["packages"]}


def _valid_glob(glob: str) -> str:
    Exclusions((glob,)).match("")
    return glob


def _not_before_1970(moment: datetime) -> datetime:
    if moment < datetime(1970, 1, 1, tzinfo=UTC):
        raise ValueError("is before 1970")
    return moment


_Reasons = Annotated[dict[Text, Text], BeforeValidator(_by_name)]


class _Suite(Model):
    archive: Text
    suite: Text
    component: Text
    max_age_days: Annotated[int, Field(gt=0)] | None = None


class _PathRules(Model):
    reason: Text
    globs: Annotated[list[Annotated[Text, AfterValidator(_valid_glob)]], Field(min_length=1)]


class _Group(Model):
    packages: _Reasons
    exclude_packages: _Reasons = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_one_reason(cls, data: Any) -> Any:
        # `{reason: R, packages: [A, B]}`: one reason for the whole group.
        return {"packages": data} if isinstance(data, dict) and "reason" in data else data


class _Intent(Model):
    suites: Annotated[list[_Suite], Field(min_length=1)]
    architectures: Annotated[list[Text], Field(min_length=1)]
    # YAML knows times; a text or a number that stands for one is a mistake.
    timestamp: (
        Annotated[AwareDatetime, AfterValidator(_not_before_1970), Field(strict=True)] | None
    ) = None
    complete: bool = False
    image: Annotated[dict[Text, _Group], Field(min_length=1)]
    exclude_packages: _Reasons = Field(default_factory=dict)
    exclude_paths: list[_PathRules] = Field(default_factory=list)
    tools: dict[Text, _Group] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _image_is_one_closure(self) -> _Intent:
        owners: dict[str, str] = {}
        for name, group in self.image.items():
            if group.exclude_packages:
                raise ValueError(
                    f"image: {name}: exclude_packages belongs at the top level for the image"
                )
            for package in group.packages:
                if owners.setdefault(package, name) != name:
                    raise ValueError(f"image: {owners[package]} and {name} both name {package}")
        return self


_FILE = TypeAdapter(_Intent)


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

    `timestamp` is in seconds since the epoch; None stands for the snapshot's time. In a `complete`
    intent the image's groups and exclusions name every package of the closure.
    """

    suites: tuple[Suite, ...]
    architectures: tuple[str, ...]
    timestamp: int | None
    image: tuple[Group, ...]
    tools: tuple[Group, ...]
    exclude_packages: Mapping[str, str]
    exclude_paths: tuple[PathRule, ...]
    sha256: str
    complete: bool = False

    def requested(self) -> tuple[str, ...]:
        """Return the names asked for by the image's groups, in the order of the file."""
        return tuple(name for group in self.image for name in group.packages)


def read_intent(path: Path) -> Intent:
    """Return the intent in `path`. Raise ToolError naming file, key and cause."""
    data = load_yaml(path)
    found = validate(data, _FILE, path=path)
    # `default` writes the timestamp as text. Comments and layout do not count.
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str)
    return Intent(
        suites=tuple(
            Suite(
                archive=suite.archive,
                name=suite.suite,
                component=suite.component,
                max_age_days=suite.max_age_days,
            )
            for suite in found.suites
        ),
        architectures=tuple(found.architectures),
        timestamp=None if found.timestamp is None else int(found.timestamp.timestamp()),
        image=_groups(found.image),
        tools=_groups(found.tools),
        exclude_packages=found.exclude_packages,
        exclude_paths=tuple(
            PathRule(glob=glob, reason=rules.reason)
            for rules in found.exclude_paths
            for glob in rules.globs
        ),
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        complete=found.complete,
    )


def _groups(found: Mapping[str, _Group]) -> tuple[Group, ...]:
    return tuple(
        Group(name=name, packages=group.packages, exclude_packages=group.exclude_packages)
        for name, group in found.items()
    )
