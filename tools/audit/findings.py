"""What an audit finds, and how serious each finding is."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace


class Severity(enum.IntEnum):
    """How serious a finding is. UNKNOWN is a CVE to which its source gives no severity."""

    NOTE = 0
    LOW = 1
    UNKNOWN = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5

    @property
    def label(self) -> str:
        """The name that people read and type."""
        return self.name.lower()


SEVERITIES = {severity.label: severity for severity in Severity}

# Kind of finding → what it means, for reports.
RULES = {
    "security-update": "A security suite has a newer version",
    "update": "A suite has a newer version",
    "support-ended": "Debian has ended its security support of the source package",
    "support-limited": "Debian limits its security support of the source package",
    "end-of-life": "Support by its makers has ended",
    "end-of-life-soon": "Support by its makers ends soon",
    "vulnerability": "An open vulnerability",
}


@dataclass(frozen=True)
class Component:
    """A Debian package, a wheel or a library in a wheel, or a suite, as the image has it.

    `source` is the Debian source package. `parent` is the wheel that a library is in. `product` is
    what its makers call it, where a distribution has another name. `file` is the lock that pins it.
    """

    name: str
    version: str
    purl: str
    file: str = ""
    source: str = ""
    source_version: str = ""
    parent: str = ""
    product: str = ""
    ecosystem: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing to know about a component.

    `identifier` is a CVE or the like for a vulnerability. `next_step` says what to do.
    `not_affected` is the reason of a VEX statement that answers it.
    """

    kind: str
    severity: Severity
    component: Component
    text: str
    next_step: str = ""
    identifier: str = ""
    architectures: tuple[str, ...] = ()
    not_affected: str = ""

    @property
    def fingerprint(self) -> str:
        """What the finding is, whatever the version and the words."""
        return f"{self.kind}:{self.component.name}:{self.identifier}".rstrip(":")


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings that differ in the architecture alone as one; the most serious first."""
    found: dict[Finding, list[Finding]] = {}
    for each in findings:
        # A lock of wheels is of one architecture.
        same = replace(each, architectures=(), component=replace(each.component, file=""))
        found.setdefault(same, []).append(each)
    whole = [
        replace(
            group[0], architectures=tuple(sorted({a for one in group for a in one.architectures}))
        )
        for group in found.values()
    ]
    return sorted(
        whole,
        key=lambda each: (
            bool(each.not_affected),
            -each.severity,
            each.component.name,
            each.identifier,
            each.text,
        ),
    )
