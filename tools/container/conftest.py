"""Unpacked images, once for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tools.container.config import image_user
from tools.container.containers_for_test import EXTRA
from tools.container.plan import Spec
from tools.image.cache import Cache, Rootfs
from tools.image.images_for_test import program_layer, python_layer, write_image


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    folder = tmp_path_factory.mktemp("image")
    image = write_image(folder / "layout", [program_layer(), EXTRA], {})
    with Cache(folder / "cache").rootfs(image.layers) as found:
        yield found


@pytest.fixture(scope="module")
def with_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    folder = tmp_path_factory.mktemp("python")
    image = write_image(folder / "layout", [program_layer(), EXTRA, python_layer()], {})
    with Cache(folder / "cache").rootfs(image.layers) as found:
        yield found


@pytest.fixture(params=["overlay", "copy"])
def app(rootfs: Rootfs, request: pytest.FixtureRequest) -> Spec:
    return Spec(rootfs=rootfs, user=image_user(rootfs, "app"), overlay=request.param == "overlay")
