"""How the image is cut into layers: few, and those that change often are small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.image.layout import read_layout

# What one changed line, or a new version of one small wheel, may cost whoever pulls: bytes.
SMALL = 5_000_000
MOST_LAYERS = 10
SMALL_LAYERS = ("tasks_wheels_layer", "web_wheels_layer", "other_wheels_layer", "app_layer")

IMAGE = read_layout(Path(os.environ["IMAGE"]))


def test_there_are_few_layers() -> None:
    assert len(IMAGE.layers) <= MOST_LAYERS


@pytest.mark.parametrize("name", SMALL_LAYERS)
def test_a_layer_that_changes_often_is_small(name: str) -> None:
    makers = [entry["created_by"] for entry in IMAGE.config["history"]]
    size = IMAGE.layers[makers.index(f"bazel build //backend:{name}")].size
    assert size <= SMALL, f"{name}: {size} bytes; move wheels between layers in backend/BUILD.bazel"
