"""Two image indexes → what differs in them besides their images."""

from __future__ import annotations

from collections.abc import Iterator

from tools.verify.difference import Difference, Weight, moved
from tools.verify.layers import Names
from tools.verify.subject import Subject


def index_differences(old: Subject, new: Subject, *, names: Names) -> Iterator[Difference]:
    """Yield a difference for each platform that one lacks, and for the documents themselves."""
    found = list(_stated(old, new, names))
    yield from found
    images = [{entry.digest for entry in side.entries} for side in (old, new)]
    if not found and images[0] == images[1] and old.digest != new.digest:
        text = "lists other artifacts beside the same images, or is written in another encoding"
        yield Difference(Weight.DOCUMENT, "index", text)


def _stated(old: Subject, new: Subject, names: Names) -> Iterator[Difference]:
    platforms = [[entry.platform for entry in side.entries] for side in (old, new)]
    for platform in sorted(set(platforms[0]) ^ set(platforms[1])):
        which = names.old if platform in platforms[0] else names.new
        yield Difference(Weight.PLATFORM, "index", f"the image of {platform} is in {which} only")
    documents = [dict(side.index or {}) for side in (old, new)]
    listed = [document.pop("manifests", None) for document in documents]
    for key in sorted(documents[0].keys() | documents[1].keys()):
        values = [document.get(key) for document in documents]
        if values[0] != values[1]:
            yield Difference(Weight.DOCUMENT, "index", f"{key}: {moved(*values)}")
    if set(platforms[0]) != set(platforms[1]):
        return
    if platforms[0] != platforms[1]:
        orders = [", ".join(side) for side in platforms]
        yield Difference(Weight.DOCUMENT, "index", f"order of images: {moved(*orders)}")
    elif _without_digests(listed[0]) != _without_digests(listed[1]):
        text = "its entries state other media types, platforms, annotations or further manifests"
        yield Difference(Weight.DOCUMENT, "index", text)


def _without_digests(entries: object) -> list[dict[str, object]]:
    if not isinstance(entries, list):
        return []
    return [
        {key: value for key, value in entry.items() if key not in ("digest", "size")}
        for entry in entries
    ]
