"""A report of what changed between two images → text for a terminal, or Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tools.size.text import megabytes
from tools.verify.image_diff import FilesRow, LayerRow, PackageRow, Report

_UNKNOWN = "changelog not at hand"
_HEADINGS = ("layer", "old", "new", "change")


def text(report: Report) -> Iterator[str]:
    """Yield the lines of the report for a terminal."""
    for which, image in (("old", report.old), ("new", report.new)):
        yield f"{which}  {image.name} ({image.platform}) {image.digest}, {megabytes(image.size)}"
    if report.same:
        yield "no difference"
        return
    for title, rows in _packages(report):
        yield ""
        yield title
        yield from _aligned(_package_rows(rows))
    yield ""
    yield "layers"
    yield from _aligned([_HEADINGS, *_layer_rows(report)])
    yield ""
    yield "files"
    yield from _aligned([_FILE_HEADINGS, *map(_file_row, report.files)])
    for title, lines in (("config", report.config), ("notes", report.notes)):
        if lines:
            yield ""
            yield title
            yield from (f"  {line}" for line in lines)


def markdown(report: Report) -> Iterator[str]:
    """Yield the lines of the report in GitHub's Markdown."""
    yield "| | image | platform | digest | size |"
    yield "|---|---|---|---|---|"
    for which, image in (("old", report.old), ("new", report.new)):
        cells = (which, image.name, image.platform, f"`{image.digest}`", megabytes(image.size))
        yield _row(cells)
    if report.same:
        yield ""
        yield "No difference."
        return
    for title, rows in _packages(report):
        yield from _table(title, ("name", "version", "CVEs"), _package_rows(rows))
    yield from _table("layers", _HEADINGS, _layer_rows(report))
    yield from _table("files", _FILE_HEADINGS, [_file_row(row) for row in report.files])
    for title, lines in (("config", report.config), ("notes", report.notes)):
        if lines:
            yield from ("", f"### {title.capitalize()}", "")
            yield from (f"- {_escaped(line)}" for line in lines)


_FILE_HEADINGS = ("kind", "added", "removed", "changed", "bytes")


def _packages(report: Report) -> Iterator[tuple[str, list[PackageRow]]]:
    for kind in dict.fromkeys(row.kind for row in report.packages):
        rows = [row for row in report.packages if row.kind == kind]
        added = sum(row.old is None for row in rows)
        removed = sum(row.new is None for row in rows)
        moved = len(rows) - added - removed
        yield f"{kind}s: {moved} moved, {added} added, {removed} removed", rows


def _versions(row: PackageRow) -> str:
    if row.old is None:
        return f"added {row.new}"
    return f"removed {row.old}" if row.new is None else f"{row.old} → {row.new}"


def _package_rows(rows: Sequence[PackageRow]) -> list[tuple[str, ...]]:
    first: dict[tuple[str, ...], str] = {}
    cells: list[tuple[str, ...]] = []
    for row in rows:
        cves = _cves(row)
        if row.cves:
            # Packages of one source have the same changelog.
            other = first.setdefault(row.cves, row.name)
            cves = cves if other == row.name else f"as {other}"
        cells.append((row.name, _versions(row), cves))
    return cells


def _cves(row: PackageRow) -> str:
    if row.cves is None:
        return _UNKNOWN if row.unknown else ""
    return " ".join(("no longer fixed:", *row.cves) if row.back and row.cves else row.cves)


def _layer_rows(report: Report) -> list[tuple[str, ...]]:
    total = LayerRow("all", report.old.size, report.new.size, same=False)
    return [_layer_row(layer) for layer in (*report.layers, total)]


def _layer_row(layer: LayerRow) -> tuple[str, ...]:
    sizes = ["" if size is None else megabytes(size) for size in (layer.old, layer.new)]
    change = "same" if layer.same else _signed((layer.new or 0) - (layer.old or 0))
    return (layer.name, *sizes, change)


def _file_row(row: FilesRow) -> tuple[str, ...]:
    return (row.kind, str(row.added), str(row.removed), str(row.changed), _signed(row.bytes))


def _signed(count: int) -> str:
    if not count:
        return "0 B"
    return ("+" if count > 0 else "-") + megabytes(abs(count))


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join(cells)}".rstrip()


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"### {title[0].upper()}{title[1:]}", "", _row(headings))
    yield "|" + "---|" * len(headings)
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
