"""Two images' configs and manifests → what differs, field by field.

Source: image-spec 1.1, config.md and manifest.md; Docker's Healthcheck.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tools.image.layout import Image
from tools.image.platform import platform_text
from tools.verify.difference import Difference, Weight, moved

# Fields of config.config by the name that people know them by, in Dockerfiles and of engines.
_NAMES = {
    "Cmd": "command (Cmd)",
    "Entrypoint": "entrypoint (Entrypoint)",
    "ExposedPorts": "exposed ports (ExposedPorts)",
    "OnBuild": "build triggers (OnBuild)",
    "Shell": "shell (Shell)",
    "StopSignal": "stop signal (StopSignal)",
    "User": "user (User)",
    "Volumes": "volumes (Volumes)",
    "WorkingDir": "working directory (WorkingDir)",
}
_MAPPINGS = {"Labels": "label", "Healthcheck": "healthcheck"}
_NANOSECONDS = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_PLATFORM = ("architecture", "os", "variant", "os.version", "os.features")
_SHOWN = 200  # Characters of a value.


def config_differences(old: Image, new: Image) -> Iterator[Difference]:
    """Yield a difference for each field of the configs; the layers' own are left out."""
    one, other = old.config, new.config
    if platform_text(one) != platform_text(other):
        text = f"platform: {moved(platform_text(one), platform_text(other))}"
        yield Difference(Weight.PLATFORM, "config", text)
    run, other_run = (each.get("config") or {} for each in (one, other))
    for key in sorted(run.keys() | other_run.keys()):
        for text in _field(key, run.get(key), other_run.get(key)):
            yield Difference(Weight.CONFIG, "config", text)
    left_out = {*_PLATFORM, "config", "rootfs", "history"}
    for key in sorted((one.keys() | other.keys()) - left_out):
        if one.get(key) != other.get(key):
            text = f"{key}: {moved(_text(one.get(key)), _text(other.get(key)))}"
            yield Difference(Weight.DOCUMENT, "config", text)
    for key in _PLATFORM[3:]:
        if one.get(key) != other.get(key):
            text = f"{key}: {moved(_text(one.get(key)), _text(other.get(key)))}"
            yield Difference(Weight.PLATFORM, "config", text)
    yield from _history(one.get("history") or [], other.get("history") or [])


def _field(key: str, old: Any, new: Any) -> Iterator[str]:
    if _same(old, new):
        return
    if key == "Env":
        yield from _environment(old, new)
    elif key in _MAPPINGS and _are_objects(old, new):
        yield from _members(_MAPPINGS[key], old or {}, new or {})
    else:
        yield f"{_NAMES.get(key, key)}: {moved(_text(old), _text(new))}"


def _same(old: Any, new: Any) -> bool:
    # Engines write null, "" or nothing for a field that is not set.
    return old == new or (not old and not new and not isinstance(old, bool))


def _are_objects(*values: Any) -> bool:
    return all(value is None or isinstance(value, dict) for value in values)


def _environment(old: Any, new: Any) -> Iterator[str]:
    variables = [dict(str(each).partition("=")[::2] for each in side or []) for side in (old, new)]
    found = list(_members("environment variable", *variables))
    yield from found or [f"environment (Env): the order: {moved(_text(old), _text(new))}"]


def _members(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            values = [_duration(name, each.get(name)) for each in (old, new)]
            yield f"{what} {name}: {moved(*values)}"


def _duration(name: str, value: Any) -> str | None:
    if name in _NANOSECONDS and isinstance(value, int):
        return f"{value / 1e9:g} s"
    return _text(value)


def _history(old: list[Any], new: list[Any]) -> Iterator[Difference]:
    if old == new:
        return
    for number, pair in enumerate(zip(old, new, strict=False), start=1):
        if pair[0] != pair[1]:
            made = [each.get("created_by") if isinstance(each, dict) else None for each in pair]
            values = made if made[0] != made[1] else map(_text, pair)
            text = f"history, entry {number}: {moved(*values)}"
            break
    else:
        text = f"history: {len(old)} entries → {len(new)}"
    yield Difference(Weight.DOCUMENT, "config", text)


def manifest_differences(old: Image, new: Image) -> Iterator[Difference]:
    """Yield a difference for each member of the manifests but the blobs' digests and sizes."""
    one, other = _without_blobs(old.manifest), _without_blobs(new.manifest)
    for key in sorted(one.keys() | other.keys()):
        if key == "annotations":
            pairs = _members("annotation", one.get(key) or {}, other.get(key) or {})
            yield from (Difference(Weight.DOCUMENT, "manifest", text) for text in pairs)
        elif one.get(key) != other.get(key):
            text = f"{key}: {moved(_text(one.get(key)), _text(other.get(key)))}"
            yield Difference(Weight.DOCUMENT, "manifest", text)


def _without_blobs(manifest: Mapping[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in manifest.items() if key not in ("config", "layers")}
    config = manifest.get("config") or {}
    result["config's mediaType"] = config.get("mediaType")
    # Several layers have the same type, so each is said once.
    types = dict.fromkeys(str(each.get("mediaType")) for each in manifest.get("layers") or [])
    result["layers' mediaType"] = ", ".join(types)
    return result


def _text(value: Any) -> str | None:
    """Return a value of JSON for a sentence, None for one that is not there."""
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
