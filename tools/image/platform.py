"""Platforms `os/architecture[/variant]`: when two are the same, and how one selects from an index.

The rule is containerd's (github.com/containerd/platforms, database.go: normalizeOS, normalizeArch),
which Docker, nerdctl and Kubernetes follow: the operating system defaults to Linux, `aarch64` is
`arm64`, `x86_64` is `amd64`, and an architecture's default variant may be written or left out:
`arm64` is `arm64/v8`, `arm` is `arm/v7`, `amd64` is `amd64/v1`. Any other variant has to be named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

# What an index says of entries that are no image, such as build attestations.
UNKNOWN = "unknown/unknown"

_ARCHITECTURES = {
    "i386": "386",
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm/v7",
    "armel": "arm/v6",
}
_DEFAULT_VARIANTS = {"amd64": "v1", "arm": "v7", "arm64": "v8"}


def platform_text(members: object) -> str:
    """Return the platform of an image config, or of the `platform` of an entry of an index."""
    if not isinstance(members, Mapping):
        return UNKNOWN
    os, architecture = members.get("os") or "linux", members.get("architecture") or "unknown"
    variant = members.get("variant")
    return "/".join(str(part) for part in (os, architecture, *([variant] if variant else [])))


def normalize(platform: str) -> str:
    """Return the platform with its architecture's usual name and without a default variant."""
    os, _, rest = platform.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    architecture, _, implied = _ARCHITECTURES.get(architecture, architecture).partition("/")
    variant = implied or variant
    if variant[:1].isdigit():
        variant = f"v{variant}"
    if variant == _DEFAULT_VARIANTS.get(architecture):
        variant = ""
    return "/".join(part for part in (os or "linux", architecture, variant) if part)


def suits(found: str, wanted: str) -> bool:
    """Return whether a single image for `found` may be used where `wanted` is asked for.

    Many images do not state their variant; one that does must have the right one. An operating
    system alone accepts any architecture.
    """
    have, want = normalize(found).split("/"), normalize(wanted).split("/")
    if len(want) == 1:
        return have[0] == want[0]
    states_no_variant = len(found.split("/")) == 2
    return have == want or (states_no_variant and have == want[:2])


def choose(offers: Iterable[tuple[str, T]], wanted: str) -> T | None:
    """Return the entry of an index for a platform: spelled alike, else the same; None for neither.

    `offers` are the platforms of the entries, with the entries.
    """
    entries = list(offers)
    for name, entry in entries:
        if name == wanted:
            return entry
    for name, entry in entries:
        if normalize(name) == normalize(wanted):
            return entry
    return None


def listing(names: Sequence[str]) -> str:
    """Return the platforms of an index for a message, without entries that are no image."""
    return ", ".join(name for name in names if not name.startswith("unknown/")) or "no platform"


def index_platform(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an index states of an image: the members of its config that are its platform."""
    members = ("os", "architecture", "variant", "os.version", "os.features")
    return {name: config[name] for name in members if config.get(name)}
