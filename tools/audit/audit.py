"""Say what is behind, unsupported or vulnerable in an image, offline, from its locks.

    bazel run //backend:audit
    bazel run //backend:audit -- --tracker debian.json --fail-on high

It rests on the locks; on what the suites' signed indexes offered when they were last verified
(`bazel run …:lock -- --refresh` verifies them anew); on Debian's lists of ended and limited support
and its release dates, from pinned packages; on a table of end-of-life dates; on the SBOM's list of
libraries in wheels; and on OpenVEX statements, each proved by tests. Vulnerabilities are looked up
in a file that you give, Debian's security tracker in JSON or OSV's records. Nothing is fetched.

Exit code: 0 the audit is done; 1 an open finding is as serious as --fail-on; 2 there is no audit,
since an input is missing or damaged, or a statement no longer holds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from tools.apt.available import Available, read_available
from tools.apt.lockfile import Lock, read_lock
from tools.apt.mirrors import SECURITY
from tools.apt.versions import compare, source_version
from tools.audit.contents import Inputs, read_contents, read_inputs
from tools.audit.end_of_life import Table, end_of_life_findings, not_in, read_table
from tools.audit.findings import SEVERITIES, Component, Finding, Severity, merged
from tools.audit.report import Report, as_json, as_sarif, text
from tools.audit.support import (
    package_findings,
    read_support,
    suite_findings,
)
from tools.audit.tracker import read_tracker, vulnerabilities
from tools.audit.vex import answered, problems, read_vex
from tools.cli import ToolError, tool

CANNOT = 2
_PYTHON = re.compile(r"python3\.\d+")
_OLD_INDEX_DAYS = 7


def updates(packages: Iterable[Component], offers: Available, *, arch: str) -> Iterator[Finding]:
    """Yield a finding for each package of which a suite has a newer version."""
    for package in packages:
        newest = offers.newest(package.name, arch=arch)
        if newest is None or compare(package.version, newest[0]) >= 0:
            continue
        version, suite = newest
        security = suite.startswith(f"{SECURITY} ")
        yield Finding(
            "security-update" if security else "update",
            Severity.HIGH if security else Severity.LOW,
            package,
            f"{suite} has {version}",
            next_step=f"lock again with --update {package.source}",
        )


def _python(packages: Iterable[Component]) -> Iterator[Component]:
    for package in packages:
        if _PYTHON.fullmatch(package.name):
            version = source_version(package.version).partition("-")[0]
            yield Component("python", version, package.purl, file=package.file)


def _series(lock: Lock) -> str:
    """Return the code name of the lock's Debian release; raise ToolError if it has several."""
    names = {release.suite.partition("-")[0] for release in lock.releases}
    if len(names) != 1:
        raise ToolError(
            f"the lock is of {', '.join(sorted(names)) or 'no'} release; wanted the packages of one"
        )
    return names.pop()


@dataclass(frozen=True)
class Options:
    """What the caller chose: a tracker's file and its SHA256, and the day to judge by."""

    today: date
    tracker: Path | None = None
    tracker_sha256: str | None = None


def audit(inputs: Inputs, options: Options, *, root: Path) -> Report:
    """Return the report. `root` has the tests that VEX statements name.

    Raise ToolError; also for a statement that no longer holds.
    """
    lock = read_lock(inputs.debian_lock.path)
    offers = read_available(inputs.available.path)
    _refuse_older(offers, lock)
    contents = read_contents(inputs, lock)
    statements = [read_vex(each.path) for each in inputs.vex]
    failures = [
        problem for vex in statements for problem in problems(vex, contents.everything(), root=root)
    ]
    if failures:
        raise ToolError("\n  ".join(["statements that no longer hold:", *failures]))
    support = read_support(inputs.support)
    release = support.release(_series(lock))
    table = read_table(inputs.end_of_life.path)
    suite = Component(
        "debian", f"{release.number} ({release.series})", "", file=inputs.debian_lock.name
    )
    found: list[Finding] = []
    libraries: list[Component] = []
    for arch, packages in contents.debian.items():
        dated = [*_python(packages), *contents.libraries[arch]]
        libraries += dated
        found += _of(
            arch,
            updates(packages, offers, arch=arch),
            package_findings(packages, support, release=release, today=options.today),
            suite_findings(release, suite, today=options.today),
            end_of_life_findings(dated, table, today=options.today),
        )
    sources = [inputs.debian_lock.name, *(each.name for each in inputs.python_locks.values())]
    indexes = ", ".join(f"{each.archive} {each.suite} {each.date}" for each in offers.releases)
    sources.append(f"{inputs.available.name}: {indexes}")
    sources += [*(path.name for path in inputs.support), inputs.end_of_life.name]
    sources += [each.name for each in inputs.vex]
    notes = _notes(libraries, offers, lock, table=table, today=options.today)
    if options.tracker is None:
        notes.append("without --tracker nothing is said of known vulnerabilities")
    else:
        tracker = read_tracker(options.tracker, sha256=options.tracker_sha256)
        sources.append(f"{tracker.name}: sha256:{tracker.sha256}")
        for arch in contents.debian:
            open_in = vulnerabilities(
                contents.all(arch), tracker, series=release.series, number=release.number
            )
            found += _of(arch, open_in)
    return Report(
        name=inputs.name,
        findings=tuple(merged(answered(found, statements))),
        sources=tuple(sources),
        notes=tuple(notes),
        locks={
            each.name: each.path.read_text(encoding="utf-8")
            for each in (inputs.debian_lock, *inputs.python_locks.values())
        },
    )


def _of(arch: str, *findings: Iterable[Finding]) -> list[Finding]:
    return [replace(each, architectures=(arch,)) for each in itertools.chain(*findings)]


def _refuse_older(offers: Available, lock: Lock) -> None:
    """Raise ToolError if the lock was made from a newer index than the offers were."""
    for release in offers.releases:
        was = lock.release(archive=release.archive, suite=release.suite)
        if was is not None and release.moment < was.moment:
            raise ToolError(
                f"{release.archive} {release.suite}: what the suite offers is of {release.date},"
                f" older than the lock ({was.date}); run: {lock.command} -- --refresh"
            )


def _notes(
    libraries: Sequence[Component], offers: Available, lock: Lock, *, table: Table, today: date
) -> list[str]:
    notes = []
    # A suite of releases changes seldom; one that is signed daily tells when this was looked up.
    newest = max((each.moment.date() for each in offers.releases), default=today)
    if (today - newest).days > _OLD_INDEX_DAYS:
        notes.append(
            f"the newest index is of {newest}, {(today - newest).days} days ago; look again with:"
            f" {lock.command} -- --refresh"
        )
    unknown = not_in((each for each in libraries if _is_binary(each)), table)
    if unknown:
        notes.append(f"the table has no end of life of: {', '.join(unknown)}")
    return notes


def _is_binary(component: Component) -> bool:
    """Return whether it is Python or a library of its own, not a crate or a distribution's part."""
    return component.purl.startswith(("pkg:generic/", "pkg:deb/"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="audit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--runfiles", type=Path, default=Path(), help=argparse.SUPPRESS)
    add("--target", type=Path, required=True, help=argparse.SUPPRESS)
    add("--format", choices=("text", "json", "sarif"), default="text", help="default: text")
    add("--tracker", type=Path, metavar="FILE", help="known vulnerabilities, see above")
    add("--tracker-sha256", metavar="HEX", help="the SHA256 that FILE must have")
    add("--fail-on", choices=list(SEVERITIES), help="end with 1 if an open finding is so serious")
    add(
        "--date",
        type=date.fromisoformat,
        default=datetime.now(UTC).date(),
        help="the day to judge by (default: today)",
    )
    return parser


@tool("audit", failure=CANNOT)
def main(argv: list[str] | None = None) -> int:
    """Print the report."""
    flags = _parser().parse_args(argv)
    inputs = read_inputs(json.loads((flags.runfiles / flags.target).read_bytes()), flags.runfiles)
    # `bazel run` starts programs in another directory and passes the user's.
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    workspace = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    report = audit(
        inputs,
        Options(
            today=flags.date,
            tracker=here / flags.tracker if flags.tracker else None,
            tracker_sha256=flags.tracker_sha256,
        ),
        root=Path(workspace) if workspace else flags.runfiles / inputs.workspace,
    )
    if flags.format == "text":
        print("\n".join(text(report)))
    else:
        form = as_json if flags.format == "json" else as_sarif
        print(json.dumps(form(report), indent=2, ensure_ascii=False))
    return int(bool(flags.fail_on) and report.reaches(SEVERITIES[flags.fail_on]))


if __name__ == "__main__":
    sys.exit(main())
