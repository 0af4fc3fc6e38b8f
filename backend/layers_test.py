"""How the image is cut into layers: few, and those that change often are small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.image.layout import read_layout

# What one changed line, or a new version of one small wheel, may cost whoever pulls: bytes.
SMALL = 5_000_000
MOST_LAYERS = 10


@pytest.mark.parametrize("image", os.environ["IMAGES"].split())
def test_there_are_few_layers(image: str) -> None:
    assert len(read_layout(Path(image)).layers) <= MOST_LAYERS


@pytest.mark.parametrize("layer", os.environ["SMALL_LAYERS"].split())
def test_a_layer_that_changes_often_is_small(layer: str) -> None:
    size = Path(layer).stat().st_size
    assert size <= SMALL, (
        f"{layer}: {size} bytes; move wheels to another layer in backend/wheels.bzl"
    )
