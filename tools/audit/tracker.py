"""A file of known vulnerabilities → those that are open in the image's components.

    findings = vulnerabilities(components, read_tracker(path), series="bookworm")

Two formats are read: the JSON of Debian's security tracker (source packages), and OSV's schema: one
record, a list, {"vulns": [...]} as its API answers, or a zip of records as it is exported. Nothing
is fetched, and what a file does not state is not made up: a CVE without a severity is `unknown`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cmp_to_key, partial
from pathlib import Path
from typing import Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from tools.apt import versions
from tools.audit.findings import Component, Finding, Severity
from tools.cli import ToolError

# The tracker's urgencies; `**` behind one marks a guess of the tracker itself.
_URGENCIES = {
    "unimportant": Severity.NOTE,
    "low": Severity.LOW,
    "medium": Severity.MEDIUM,
    "high": Severity.HIGH,
}
_RATINGS = {
    "low": Severity.LOW,
    "moderate": Severity.MEDIUM,
    "medium": Severity.MEDIUM,
    "important": Severity.HIGH,
    "high": Severity.HIGH,
    "critical": Severity.CRITICAL,
}
_DEBIAN = re.compile(r"Debian(?::(?P<number>\d+))?")
_NOT_VULNERABLE = "0"
_EPOCH = re.compile(r"^[0-9]+:")


@dataclass(frozen=True)
class Tracker:
    """The records of a file, and that file's SHA256. One of `debian` and `osv` is not empty."""

    name: str
    sha256: str
    debian: Mapping[str, Mapping[str, Any]]
    osv: tuple[Mapping[str, Any], ...]


def read_tracker(path: Path, *, sha256: str | None = None) -> Tracker:
    """Read a file of either format. Raise ToolError for another one, and for another SHA256."""
    try:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        data = _decoded(content)
        if isinstance(data, list):
            found = Tracker(path.name, digest, {}, tuple(map(_record, data)))
        else:
            found = Tracker(path.name, digest, {k: _source(k, v) for k, v in data.items()}, ())
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile, ToolError) as error:
        raise ToolError(
            f"--tracker {path}: {error}; wanted the JSON of Debian's security tracker, or OSV's"
        ) from error
    if sha256 is not None and digest != sha256.removeprefix("sha256:"):
        raise ToolError(
            f"--tracker {path}: SHA256 is {digest}, --tracker-sha256 is {sha256}; use the file that"
            " was pinned"
        )
    return found


def _decoded(content: bytes) -> Any:
    """Return OSV's records as a list, the issues of Debian's tracker as a dictionary."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return [json.loads(archive.read(name)) for name in archive.namelist()]
    data = json.loads(content)
    if isinstance(data, dict) and "vulns" in data:
        return data["vulns"]
    return [data] if isinstance(data, dict) and "affected" in data else data


def _record(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict) or not isinstance(data.get("id"), str):
        raise ToolError("a record without an id")
    if not all(isinstance(each, dict) for each in data.get("affected", ())):
        raise ToolError(f"{data['id']}: `affected` is not a list of records")
    return data


def _source(name: str, issues: Any) -> Mapping[str, Any]:
    if not isinstance(issues, dict) or not all(
        isinstance(issue, dict) and isinstance(issue.get("releases"), dict)
        for issue in issues.values()
    ):
        raise ToolError(f"{name!r}: not issues of a source package")
    return issues


def vulnerabilities(
    components: Iterable[Component], tracker: Tracker, *, series: str, number: str
) -> Iterator[Finding]:
    """Yield each vulnerability that is open in a component; `series` is Debian's, as `number`."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for record in tracker.osv:
        for affected in record.get("affected", ()):
            for key in _keys(affected):
                by_name.setdefault(key, []).append(record)
    for component in components:
        issues = tracker.debian.get(component.source, {}) if component.ecosystem == "Debian" else {}
        records = by_name.get(component.source or component.name, [])
        about = [
            *(
                (name, partial(_debian, component, name, issue, series=series))
                for name, issue in issues.items()
            ),
            *(
                (name, partial(_osv, component, record, number=number))
                for name, record in {each["id"]: each for each in records}.items()
            ),
        ]
        for name, judge in about:
            try:
                finding = judge()
            except ValueError as error:
                raise ToolError(f"--tracker: {name}, on {component.name}: {error}") from error
            if finding is not None:
                yield finding


def _debian(
    component: Component, identifier: str, issue: Mapping[str, Any], *, series: str
) -> Finding | None:
    state = issue["releases"].get(series)
    if state is None:
        return None
    status, fixed = state.get("status"), str(state.get("fixed_version", ""))
    if status == "resolved":
        if not fixed or fixed == _NOT_VULNERABLE:
            return None
        if versions.compare(component.source_version, fixed) >= 0:
            return None
        text, step = f"fixed in {fixed}", "update the lock"
    else:
        text = {"open": "not fixed in the suite"}.get(str(status), f"the tracker says {status!r}")
        step = ""
    reason = state.get("nodsa")
    urgency = str(state.get("urgency", "")).rstrip("*")
    return _vulnerability(
        component,
        identifier,
        f"{text}{f' ({reason})' if reason else ''}: {_short(issue.get('description'))}",
        severity=_URGENCIES.get(urgency, Severity.UNKNOWN),
        step=step,
    )


def _keys(affected: Mapping[str, Any]) -> set[str]:
    package = affected.get("package", {})
    names = {str(package.get("name", ""))}
    if "purl" in package:
        try:
            names.add(PackageURL.from_string(package["purl"]).name)
        except ValueError as error:
            raise ToolError(f"--tracker: {error}") from error
    return names | {str(canonicalize_name(name)) for name in names if name}


def _osv(component: Component, record: Mapping[str, Any], *, number: str) -> Finding | None:
    if record.get("withdrawn"):
        return None
    for affected in record.get("affected", ()):
        if not _is_about(affected.get("package", {}), component, number=number):
            continue
        fixed = _affects(affected, component)
        if fixed is None:
            continue
        return _vulnerability(
            component,
            _identifier(record),
            f"{f'fixed in {fixed}' if fixed else 'no fix is stated'}:"
            f" {_short(record.get('summary') or record.get('details'))}",
            severity=_severity(record, affected),
            step="update the lock" if fixed else "",
        )
    return None


def _identifier(record: Mapping[str, Any]) -> str:
    """Return the CVE that a record is about, else its own id.

    A distribution's record has it in `upstream`; one that names several is an advisory on them all.
    """
    upstream = record.get("upstream", ())
    names = [record["id"], *record.get("aliases", ()), *(upstream if len(upstream) == 1 else ())]
    return str(next((each for each in names if str(each).startswith("CVE-")), record["id"]))


def _is_about(package: Mapping[str, Any], component: Component, *, number: str) -> bool:
    ecosystem = str(package.get("ecosystem", ""))
    if component.ecosystem == "Debian":
        match = _DEBIAN.fullmatch(ecosystem)
        right = match is not None and match["number"] in (None, number)
        return right and package.get("name") == component.source
    if component.ecosystem:
        name = str(package.get("name", ""))
        if component.ecosystem == "PyPI":
            name = canonicalize_name(name)
        return ecosystem == component.ecosystem and name == component.name
    if "purl" not in package:
        return False
    stated, own = PackageURL.from_string(package["purl"]), PackageURL.from_string(component.purl)
    return (stated.type, stated.namespace, stated.name) == (own.type, own.namespace, own.name)


def _affects(affected: Mapping[str, Any], component: Component) -> str | None:
    """Return the version with the fix, "" if none is stated, None if the component is not hit."""
    version = component.source_version or component.version
    for span in affected.get("ranges", ()):
        if span.get("type") not in ("ECOSYSTEM", "SEMVER"):
            continue  # of a repository's commits, which no package states
        hit, fixed = False, ""
        events = [(str(at), kind) for event in span["events"] for kind, at in event.items()]
        order = cmp_to_key(partial(_order, component=component))
        for at, kind in sorted(events, key=lambda event: order(event[0])):
            reached = _order(version, at, component=component) >= 0
            if kind == "introduced" and reached:
                hit, fixed = True, ""
            elif kind == "fixed" and hit:
                hit, fixed = not reached, "" if reached else at
                if not reached:
                    break
            elif kind == "last_affected" and hit and _compare(version, at, component) > 0:
                hit = False
        if hit:
            return fixed
    return "" if version in affected.get("versions", ()) else None


def _compare(one: str, other: str, component: Component) -> int:
    if component.ecosystem == "PyPI":
        try:
            left, right = Version(one), Version(other)
        except InvalidVersion:
            return versions.compare(one, other)
        return (left > right) - (left < right)
    if component.purl.startswith("pkg:rpm/"):
        # Package URLs leave out the epoch; to rpm, an underscore is a separator like any other.
        one, other = (_EPOCH.sub("", each).replace("_", ".") for each in (one, other))
    return versions.compare(one, other)


def _order(one: str, other: str, *, component: Component) -> int:
    """Compare versions of events: `0` is before every version."""
    if "0" in (one, other):
        return (one != "0") - (other != "0")
    return _compare(one, other, component)


def _severity(record: Mapping[str, Any], affected: Mapping[str, Any]) -> Severity:
    """Return the severity in words, which databases give; a CVSS vector alone is not one."""
    for place in (
        affected.get("ecosystem_specific"),
        affected.get("database_specific"),
        record.get("database_specific"),
    ):
        words = place or {}
        found = words.get("severity") or words.get("urgency")
        if isinstance(found, str):
            word = found.lower().rstrip("*")
            return _RATINGS.get(word, _URGENCIES.get(word, Severity.UNKNOWN))
    return Severity.UNKNOWN


def _vulnerability(
    component: Component, identifier: str, text: str, *, severity: Severity, step: str
) -> Finding:
    return Finding(
        "vulnerability", severity, component, text, next_step=step, identifier=identifier
    )


def _short(text: object) -> str:
    words = " ".join(str(text or "no description").split())
    return words if len(words) <= 100 else words[:97] + "…"
