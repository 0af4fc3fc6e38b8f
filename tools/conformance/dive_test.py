"""No file of one layer is replaced or hidden by a later one: dive counts 0 bytes of waste.

IMAGES has the layouts. DIVE names the program.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.conformance.programs_for_test import Programs, copy_layout, programs
from tools.image.images_for_test import Member, write_image


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return programs(tmp_path_factory.mktemp("programs"))


def _dive(here: Programs, layout: Path) -> dict[str, Any]:
    """What dive says of a layout; it reads archives alone."""
    name = layout.name
    if not (here.work / name).exists():
        copy_layout(layout, here.work / name)
    target = f"docker-archive:{name}.tar:localhost/{name}:tested"
    here.run("skopeo", "copy", "-q", f"oci:{name}", target)
    done = subprocess.run(
        [
            str(Path(os.environ["DIVE"]).resolve()),
            f"docker-archive://{name}.tar",
            f"--json={name}.json",
        ],
        cwd=here.work,
        env={"HOME": str(here.work)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((here.work / f"{name}.json").read_text())["image"]
    return report


@pytest.mark.parametrize("layout", os.environ["IMAGES"].split())
def test_the_layers_waste_no_byte(here: Programs, layout: str) -> None:
    report = _dive(here, Path(layout))
    print(f"{layout}: {report['sizeBytes']} bytes, {report['inefficientBytes']} of them wasted")
    assert report["sizeBytes"] > 0
    assert report["fileReference"] == []
    assert (report["inefficientBytes"], report["efficiencyScore"]) == (0, 1)


def test_a_file_in_two_layers_is_found(here: Programs) -> None:
    twice = [Member("srv/twice", b"a" * 1000)]
    layout = write_image(here.work / "wasteful", [twice, twice], {}).path
    report = _dive(here, layout)
    assert [each["file"] for each in report["fileReference"]] == ["/srv/twice"]
    assert report["inefficientBytes"] == 2000
