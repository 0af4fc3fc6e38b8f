"""Two images → the differences between them, what matters most first.

Reads documents first; of the layers only those whose contents differ, or whose compressed bytes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tools.image.layout import Image, Layer
from tools.image.platform import platform_text, suits
from tools.verify.config_difference import config_differences, manifest_differences
from tools.verify.difference import Difference, Weight, by_weight, moved
from tools.verify.layer_report import layer_differences, lone_layer
from tools.verify.layers import (
    Alignment,
    Names,
    align,
    check_content,
    compare_pairs,
    compression_difference,
)

Fetch = Callable[[Iterable[Layer]], None]


@dataclass(frozen=True)
class Side:
    """An image, how to get its layers, and whether it has a manifest."""

    image: Image
    fetch: Fetch
    has_manifest: bool = True


def choose(old: Image, candidates: Iterable[Image]) -> Image:
    """Return the image that another one is to be compared with: of most layers in common.

    The platform decides between equals; an image that claims another one is found all the same.
    """
    contents = {layer.diff_id for layer in old.layers}
    platform = platform_text(old.config)

    def likeness(image: Image) -> tuple[int, bool]:
        common = sum(layer.diff_id in contents for layer in image.layers)
        return common, suits(platform_text(image.config), platform)

    return max(candidates, key=likeness)


def compare_images(old: Side, new: Side, *, names: Names) -> list[Difference]:
    """Return what differs; raise ToolError or OSError if a layer cannot be had or read.

    Between a docker-archive, which has no manifest, and an image only contents are compared.
    """
    alignment = align(old.image, new.image)
    found = [*config_differences(old.image, new.image), *_reordered(alignment)]
    both_have_manifests = old.has_manifest and new.has_manifest
    if both_have_manifests:
        found += manifest_differences(old.image, new.image)
    # What they say of their content is the same; whether it is true is still to be seen.
    packed = [pair for pair in alignment.equal if pair[0].layer.digest != pair[1].layer.digest]
    old.fetch([place.layer for place, _ in packed])
    new.fetch([place.layer for _, place in packed])
    for one, other in packed:
        check_content(one.layer)
        if both_have_manifests:
            how = compression_difference(one.layer, other.layer)
            text = f"compression: {how}; the content is the same"
            found.append(Difference(Weight.COMPRESSION, str(other), text))
    old.fetch([pair.old.layer for pair in alignment.pairs if pair.old])
    new.fetch([pair.new.layer for pair in alignment.pairs if pair.new])
    for pair, changes in zip(alignment.pairs, compare_pairs(alignment.pairs), strict=True):
        if pair.old and pair.new:
            found += layer_differences(pair, changes, names=names)
        else:
            found.append(lone_layer(pair, changes, names=names))
    return by_weight(found)


def _reordered(alignment: Alignment) -> Iterator[Difference]:
    if alignment.reordered:
        moves = [moved(str(old), str(new)) for old, new in alignment.reordered]
        yield Difference(Weight.LAYERS, "layers", f"order of layers: {', '.join(moves)}")
