"""The size report as one page that needs nothing else: a treemap, and a table below it."""

from __future__ import annotations

import html
import json
import posixpath
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from tools.size.text import megabytes

_TEMPLATE = Path(__file__).with_name("page.html")
# A file smaller than this is drawn together with the other small ones of its directory.
_SMALL_BYTES = 24_000
_DIRECTORY_DEPTH = 4


def page(report: Mapping[str, Any]) -> str:
    """Return the page. What scripts draw is in the table as well, for print and without them."""
    totals = report["totals"]
    title = f"{report['name']} ({report['image']['architecture']})"
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        digest=html.escape(report["image"]["digest"]),
        compressed=megabytes(totals["compressed"]),
        raw=megabytes(totals["raw"]),
        files=f"{totals['files']:,}",
        packages=totals["packages"],
        wheels=totals["wheels"],
        layers=totals["layers"],
        baseline=_baseline(report),
        rows="\n".join(_row(owner, totals) for owner in report["owners"]),
        layer_rows="\n".join(_layer_row(layer, totals) for layer in report["layers"]),
        data=_script_safe(_data(report)),
    )


def _script_safe(data: object) -> str:
    """Return JSON that cannot end the script element it stands in (HTML, 13.2.5.15)."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _data(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "layers": [
            {
                "name": layer["name"],
                "over": [layer["overhead"]["compressed"], layer["overhead"]["raw"]],
            }
            for layer in report["layers"]
        ],
        "owners": [
            {
                "kind": owner["kind"],
                "name": owner["name"],
                "version": owner["version"],
                "why": owner["why"]["chain"],
                "reason": owner["why"]["reason"],
                "elf": owner.get("elf"),
            }
            for owner in report["owners"]
        ],
        "built": {path: reason for path, reason in report["built"].items() if reason},
        "files": _files(report),
    }


def _files(report: Mapping[str, Any]) -> list[list[Any]]:
    """Return [layer, owner, path, compressed, raw, files] of large files and grouped small ones."""
    rows: list[list[Any]] = []
    groups: dict[tuple[int, int, str], list[int]] = {}
    for layer, owner, path, kind, raw, stored in report["entries"]:
        counted = int(kind in ("file", "hard link"))
        if raw >= _SMALL_BYTES:
            rows.append([layer, owner, path, stored, raw, counted])
            continue
        directory = "/".join(posixpath.dirname(path).split("/")[: _DIRECTORY_DEPTH + 1])
        sums = groups.setdefault((layer, owner, directory), [0, 0, 0])
        sums[0] += stored
        sums[1] += raw
        sums[2] += counted
    rows += [
        [layer, owner, f"{directory or ''}/…", *sums]
        for (layer, owner, directory), sums in groups.items()
    ]
    return sorted(rows, key=lambda row: (row[0], row[1], -row[3], row[2]))


def _baseline(report: Mapping[str, Any]) -> str:
    if "baseline" not in report:
        return ""
    totals, other = report["totals"], report["baseline"]
    bars = []
    for key, label in (("compressed", "compressed"), ("raw", "unpacked")):
        share = totals[key] / other[key]
        bars.append(
            f'<div class="compare"><span>{label}</span>'
            f'<span class="bar"><i style="width:{min(share, 1):.1%}"></i></span>'
            f"<span>{share:.0%} of {megabytes(other[key])}</span></div>"
        )
    return (
        f'<section><p class="quiet">Compared with {html.escape(other["name"])} '
        f"({other['files']:,} files, {other['packages']} packages)</p>{''.join(bars)}</section>"
    )


def _row(owner: Mapping[str, Any], totals: Mapping[str, Any]) -> str:
    why = owner["why"]
    reason = html.escape(" → ".join(why["chain"]))
    if why["reason"]:
        reason += f": {html.escape(why['reason'])}"
    elf = owner.get("elf")
    if elf is not None and elf["needs"]:
        need = elf["needs"][0]
        more = f" and {elf['count'] - 1} more" if elf["count"] > 1 else ""
        needed = f"{need['name']} ← {posixpath.basename(need['object'])}{more}"
        reason += f'<br><span class="quiet">{html.escape(needed)}</span>'
    return (
        f'<tr><th scope="row">{html.escape(owner["name"])} '
        f'<span class="quiet">{html.escape(owner["version"])}</span></th>'
        f"<td>{html.escape(owner['kind'])}</td>"
        f'<td class="n">{megabytes(owner["compressed"])}</td>'
        f'<td class="n">{owner["compressed"] / totals["compressed"]:.1%}</td>'
        f'<td class="n">{megabytes(owner["raw"])}</td>'
        f'<td class="n">{owner["files"]:,}</td><td>{reason}</td></tr>'
    )


def _layer_row(layer: Mapping[str, Any], totals: Mapping[str, Any]) -> str:
    return (
        f'<tr><th scope="row">{html.escape(layer["name"])}</th>'
        f'<td class="n">{megabytes(layer["compressed"])}</td>'
        f'<td class="n">{layer["compressed"] / totals["compressed"]:.1%}</td>'
        f'<td class="n">{megabytes(layer["raw"])}</td>'
        f'<td class="n">{layer["files"]:,}</td>'
        f'<td class="quiet digest">{html.escape(layer["digest"])}</td></tr>'
    )
