"""How the image is cut into layers: few, and those that change often are small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.image.layout import read_layout

# What one changed line, or a new version of one small wheel, may cost whoever pulls: bytes.
LIMITS = {
    **dict.fromkeys(("web_wheels_layer", "other_wheels_layer"), 2_000_000),
    **dict.fromkeys(("analysis_app_layer", "services_app_layer", "app_layer"), 320_000),
}
MOST_LAYERS = 12

IMAGE = read_layout(Path(os.environ["IMAGE"]))


def test_there_are_few_layers() -> None:
    assert len(IMAGE.layers) <= MOST_LAYERS


@pytest.mark.parametrize(("name", "limit"), LIMITS.items())
def test_a_layer_that_changes_often_is_small(name: str, limit: int) -> None:
    makers = [entry["created_by"] for entry in IMAGE.config["history"]]
    size = IMAGE.layers[makers.index(f"bazel build //backend:{name}")].size
    assert size <= limit, f"{name}: {size} bytes; move some between layers in backend/BUILD.bazel"
