"""The benchmark runs real checks; their times are not checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.image.images_for_test import Member, directory, write_image
from tools.image.source import open_source
from tools.structure_test.benchmark import main, measure


def test_the_benchmark_checks_what_is_in_the_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [directory("d"), *(Member(f"d/{number}", b"text") for number in range(40))]
    layout = write_image(tmp_path / "layout", [members], {}).path
    with open_source(layout, platform="", scratch=tmp_path) as source:
        times = measure(source.image, count=20, extractions=1, scratch=tmp_path)
    assert times.checks == 20
    assert times.ratio > 0
    assert main(["--image", str(layout), "--checks", "8", "--extractions", "1"]) == 0
    assert "8 checks after that" in capsys.readouterr().out
