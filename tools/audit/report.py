"""An audit → text, JSON and SARIF 2.1.0."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.audit.findings import RULES, Component, Finding, Severity

SCHEMA = "image_audit/1"
_SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Severity.NOTE: "note",
    Severity.LOW: "note",
    Severity.UNKNOWN: "warning",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}


@dataclass(frozen=True)
class Report:
    """Everything that an audit says. `sources` names what it rests on, `notes` what it cannot say.

    `locks` are the texts of the locks by path, to tell the line of a component.
    """

    name: str
    findings: tuple[Finding, ...]
    sources: tuple[str, ...]
    notes: tuple[str, ...]
    locks: Mapping[str, str]

    @property
    def open(self) -> tuple[Finding, ...]:
        """The findings that no statement answers."""
        return tuple(each for each in self.findings if not each.not_affected)

    def reaches(self, severity: Severity) -> bool:
        """Return whether an open finding is at least this serious."""
        return any(each.severity >= severity for each in self.open)


def text(report: Report) -> Iterator[str]:
    """Yield the lines of the report for a terminal."""
    counts = Counter(each.severity for each in report.open)
    total = ", ".join(f"{counts[each]} {each.label}" for each in sorted(counts, reverse=True))
    yield f"{report.name}: {total or 'nothing found'}"
    for title, findings in (
        ("", report.open),
        ("not affected", [each for each in report.findings if each.not_affected]),
    ):
        if title and findings:
            yield ""
            yield f"{title}:"
        for finding in findings:
            yield from _finding(finding)
    yield ""
    yield "from:"
    yield from (f"  {line}" for line in report.sources)
    yield from (f"note: {line}" for line in report.notes)


def _finding(finding: Finding) -> Iterator[str]:
    name = _component(finding.component)
    archs = f" ({', '.join(finding.architectures)})" if finding.architectures else ""
    identifier = f"{finding.identifier} " if finding.identifier else ""
    yield f"  {finding.severity.label:8} {identifier}{name}{archs}: {finding.text}"
    if finding.not_affected:
        yield f"           {finding.not_affected}"
    elif finding.next_step:
        yield f"           → {finding.next_step}"


def _component(component: Component) -> str:
    inside = f" in {component.parent}" if component.parent else ""
    return f"{component.name} {component.version}{inside}"


def as_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON's types."""
    return {
        "schema": SCHEMA,
        "name": report.name,
        "findings": [
            {
                "kind": each.kind,
                "severity": each.severity.label,
                "id": each.identifier or None,
                "component": {
                    "name": each.component.name,
                    "version": each.component.version,
                    "purl": each.component.purl,
                    "source": each.component.source or None,
                    "parent": each.component.parent or None,
                },
                "architectures": list(each.architectures),
                "text": each.text,
                "next_step": each.next_step or None,
                "not_affected": each.not_affected or None,
            }
            for each in report.findings
        ],
        "sources": list(report.sources),
        "notes": list(report.notes),
    }


def as_sarif(report: Report) -> dict[str, Any]:
    """Return the report as SARIF, each result at the component's line of its lock."""
    kinds = sorted({each.kind for each in report.findings})
    return {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pinned_image audit",
                        "rules": [
                            {"id": kind, "shortDescription": {"text": RULES[kind]}}
                            for kind in kinds
                        ],
                    }
                },
                "results": [_result(each, report.locks) for each in report.findings],
            }
        ],
    }


def _result(finding: Finding, locks: Mapping[str, str]) -> dict[str, Any]:
    component = finding.component
    said = f"{finding.identifier} " if finding.identifier else ""
    step = f" Next: {finding.next_step}." if finding.next_step else ""
    result: dict[str, Any] = {
        "ruleId": finding.kind,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{said}{_component(component)}: {finding.text}.{step}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": component.file},
                    "region": {"startLine": _line(component, locks.get(component.file, ""))},
                }
            }
        ],
        "partialFingerprints": {"finding/v1": finding.fingerprint},
        "properties": {"severity": finding.severity.label, "purl": component.purl},
    }
    if finding.not_affected:
        result["suppressions"] = [{"kind": "external", "justification": finding.not_affected}]
    return result


def _line(component: Component, lock: str) -> int:
    name = re.escape(component.parent or component.name)
    found = re.search(rf'^(?:\s*"name": "{name}"|{name}(?:\[|==))', lock, re.MULTILINE)
    return lock.count("\n", 0, found.start()) + 1 if found else 1
