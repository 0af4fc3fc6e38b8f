"""Fixtures of the tests of checks: an image, and a function that runs a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.image.images_for_test import program_layer, write_image
from tools.structure_test.image_for_test import CONFIG, FILES, Run
from tools.structure_test.suite import RunnerConfig, Selection, read_suite, run_suite


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    return write_image(folder / "layout", [program_layer(), FILES], CONFIG).path


@pytest.fixture
def run(image: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    cache = tmp_path_factory.getbasetemp() / "shared-cache"

    def execute(
        config: dict[str, Any],
        *,
        layout: Path = image,
        driver: str = "namespace",
        timeout: float = 30,
        environ: dict[str, str] | None = None,
    ) -> list[str]:
        """Run a configuration of one test; return its errors."""
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"schemaVersion": "2.0.0", **config}))
        variables = environ or {}
        suite = read_suite([path], [], timeout=timeout, environ=variables)
        assert not suite.broken
        runner = RunnerConfig(driver, variables, cache)
        results = run_suite(layout, suite, Selection(), runner)
        assert len(results) == 1
        return list(results[0].errors)

    return execute
