"""No file of one layer is replaced or hidden by a later one: dive counts 0 bytes of waste.

ARCHIVES has the images, as `docker save` would write them. DIVE names the program.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.image.images_for_test import Member, write_image
from tools.oci import load


def _dive(archive: Path, directory: Path) -> dict[str, Any]:
    program = str(Path(os.environ["DIVE"]).resolve())
    done = subprocess.run(
        [program, f"docker-archive://{archive.resolve()}", "--json=report.json"],
        cwd=directory,
        env={"HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((directory / "report.json").read_text())["image"]
    return report


@pytest.mark.parametrize("archive", os.environ["ARCHIVES"].split())
def test_the_layers_waste_no_byte(archive: str, tmp_path: Path) -> None:
    report = _dive(Path(archive), tmp_path)
    print(f"{archive}: {report['sizeBytes']} bytes, {report['inefficientBytes']} of them wasted")
    assert report["sizeBytes"] > 0
    assert report["fileReference"] == []
    assert (report["inefficientBytes"], report["efficiencyScore"]) == (0, 1)


def test_a_file_in_two_layers_is_found(tmp_path: Path) -> None:
    twice = [Member("srv/twice", b"a" * 1000)]
    layout = write_image(tmp_path / "wasteful", [twice, twice], {}).path
    (tmp_path / "tags").write_text("wasteful:tested\n")
    archive = tmp_path / "wasteful.tar"
    words = [f"--layout={layout}", f"--repo-tags={tmp_path / 'tags'}", f"--output={archive}"]
    assert load.main(words) == 0
    report = _dive(archive, tmp_path)
    assert [each["file"] for each in report["fileReference"]] == ["/srv/twice"]
    assert report["inefficientBytes"] == 2000
