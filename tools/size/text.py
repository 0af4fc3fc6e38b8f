"""The size report as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_SHOWN_NEEDS = 1


def megabytes(count: int) -> str:
    """Return bytes as people read them: decimal units, as registries count."""
    if count >= 999_500:
        return f"{count / 1e6:.1f} MB"
    return f"{count / 1e3:.1f} kB" if count >= 1000 else f"{count} B"


def text(report: Mapping[str, Any]) -> str:
    """Return the whole report but its list of files."""
    return "\n".join([*_head(report), "", *_layers(report), "", *_owners(report), ""])


def _head(report: Mapping[str, Any]) -> Iterable[str]:
    totals, image = report["totals"], report["image"]
    yield f"{report['name']} ({image['architecture']}) {image['digest']}"
    yield (
        f"{megabytes(totals['compressed'])} compressed, {megabytes(totals['raw'])} raw, "
        f"{totals['files']} files: {totals['packages']} Debian packages and {totals['wheels']} "
        f"wheels in {totals['layers']} layers"
    )
    if "baseline" in report:
        other = report["baseline"]
        yield (
            f"{other['name']}: {megabytes(other['compressed'])} compressed, "
            f"{megabytes(other['raw'])} raw, {other['files']} files, {other['packages']} packages; "
            f"this is {totals['compressed'] / other['compressed']:.0%} and "
            f"{totals['raw'] / other['raw']:.0%} of it"
        )


def _layers(report: Mapping[str, Any]) -> Iterable[str]:
    yield f"{'compressed':>11} {'raw':>10} {'files':>6}  layer"
    for layer in report["layers"]:
        yield (
            f"{megabytes(layer['compressed']):>11} {megabytes(layer['raw']):>10} "
            f"{layer['files']:>6}  {layer['name']}"
        )


def _owners(report: Mapping[str, Any]) -> Iterable[str]:
    yield f"{'compressed':>11} {'raw':>10} {'files':>6}  package, and why it is there"
    for owner in report["owners"]:
        version = f" {owner['version']}" if owner["version"] else ""
        yield (
            f"{megabytes(owner['compressed']):>11} {megabytes(owner['raw']):>10} "
            f"{owner['files']:>6}  {owner['name']}{version} ({owner['kind']})"
        )
        for line in _why(owner):
            yield f"{'':>31}{line}"
    built = {path: reason for path, reason in report["built"].items() if reason}
    if built:
        reasons: dict[str, list[str]] = {}
        for path, reason in built.items():
            reasons.setdefault(reason, []).append(path)
        yield ""
        yield "built here"
        for reason, paths in sorted(reasons.items()):
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            yield f"  {paths[0]}{more}: {reason}"


def _why(owner: Mapping[str, Any]) -> Iterable[str]:
    why = owner["why"]
    if why["chain"]:
        yield f"{' → '.join(why['chain'])}: {why['reason']}"
    elf = owner.get("elf")
    if elf is not None:
        if len(elf["path"]) > 1:
            yield f"loaded: {' → '.join(elf['path'])}"
        for need in elf["needs"][:_SHOWN_NEEDS]:
            others = f", and {elf['count'] - 1} more" if elf["count"] > 1 else ""
            yield f"{need['name']} is needed by {need['object']}{others}"
