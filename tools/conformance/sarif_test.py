"""The audit's SARIF, held by sarif-kit to the JSON Schema of OASIS. $SARIF_KIT starts it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tools.audit.findings import RULES, Component, Finding, Severity
from tools.audit.report import Report, as_sarif

_LOCK = "requirements.amd64.txt"


def _log() -> dict[str, Any]:
    """An audit with a finding of each kind and severity, answered by a statement and open."""
    component = Component(
        name="opencv", version="5.0", purl="pkg:pypi/opencv@5.0", file=_LOCK, ecosystem="PyPI"
    )
    findings = tuple(
        Finding(
            kind,
            severity,
            component,
            "something is known about it",
            next_step="bazel run //:lock",
            identifier="CVE-2026-1",
            architectures=("amd64",),
            not_affected=answer,
        )
        for kind in RULES
        for severity in Severity
        for answer in ("", "its code does not run")
    )
    report = Report("image", findings, ("a tracker",), ("a note",), {_LOCK: "opencv==5.0\n"})
    return as_sarif(report)


def _judged(log: dict[str, Any], directory: Path) -> tuple[int, str]:
    file = directory / "audit.sarif"
    file.write_text(json.dumps(log), encoding="utf-8")
    command = [*os.environ["SARIF_KIT"].split(), "validate", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_every_kind_of_finding_is_valid(tmp_path: Path) -> None:
    code, said = _judged(_log(), tmp_path)
    assert code == 0, said


def test_what_the_schema_does_not_know_is_found(tmp_path: Path) -> None:
    log = _log()
    log["runs"][0]["results"][0]["level"] = "severe"
    code, said = _judged(log, tmp_path)
    assert code != 0
    assert "runs/0/results/0/level: 'severe' is not one of" in said
