"""Medians, spread and ratios, as text, JSON and a picture."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from tools.benchmarks import report
from tools.benchmarks.report import Row, Samples

ROWS = [
    Row(
        "push", "line → registry", Samples((0.5, 0.4, 0.9), 40_000), Samples((1.0, 2.0), 2_500_000)
    ),
    Row("tests", "all tests <&>", Samples((300.0,))),
]
MACHINE = ["2 CPUs"]


def test_the_table_has_medians_with_their_spread_and_the_ratio() -> None:
    assert report.table(ROWS, MACHINE).splitlines() == [
        "                 Dockerfile                     ours                            ratio",
        "line → registry  1.50 s (1.00 to 2.00), 2.5 MB  0.50 s (0.40 to 0.90), 40.0 kB  0.33",
        "all tests <&>    -                              300.00 s (300.00 to 300.00)     -",
        "",
        "Medians (smallest to largest).",
        "2 CPUs",
    ]


def test_the_json_has_every_sample() -> None:
    document = json.loads(report.to_json(ROWS, MACHINE))
    assert document["machine"] == MACHINE
    assert document["rows"]["push"] == {
        "label": "line → registry",
        "dockerfile": {"median": 1.5, "seconds": [1.0, 2.0], "bytes": 2_500_000},
        "ours": {"median": 0.5, "seconds": [0.5, 0.4, 0.9], "bytes": 40_000},
        "ratio": 0.333,
    }
    assert document["rows"]["tests"]["dockerfile"] is None
    assert document["rows"]["tests"]["ratio"] is None


def test_the_bars_are_as_long_as_the_medians() -> None:
    root = ET.fromstring(report.picture(ROWS, MACHINE))
    space = "{http://www.w3.org/2000/svg}"
    bars = [each for each in root.iter(f"{space}rect") if each.get("height") == "16"]
    assert [float(each.get("width", "")) for each in bars] == [330.0, 110.0, 330.0]
    texts = [each.text for each in root.iter(f"{space}text")]
    assert "all tests <&>" in texts
    assert texts[-1] == "2 CPUs"
    height = float(root.get("height", ""))
    assert all(float(each.get("y", "0")) < height for each in root.iter(f"{space}text"))
