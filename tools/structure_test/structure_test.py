"""Runs structure tests against an OCI image layout, with no daemon and no root.

    structure_test --image LAYOUT --config tests.yaml --image-config more.yaml

`--config` files have the schema of container_structure_test (schema.py), `--image-config` files
ours (image_schema.py). Exit code 0 when every test passed, 1 when one failed or none ran, 2 when
the flags are wrong. Under Bazel the report, --test_filter and sharding are those of the test
environment (Bazel's test encyclopedia).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.container.cache import shared_root
from tools.container.run import START_ERRORS
from tools.oci.layout import LayoutError, read_layout
from tools.structure_test import checks, image_checks, report
from tools.structure_test.checks import Outcome
from tools.structure_test.fields import ConfigError
from tools.structure_test.go_text import PatternError, search
from tools.structure_test.image_schema import ImageConfig, read_image_config
from tools.structure_test.report import Result
from tools.structure_test.schema import Config, read_config
from tools.structure_test.subject import Subject, SubjectError, open_subject

COMMAND_SECONDS = 300.0


@dataclass(frozen=True)
class Case:
    """A test that can be run; `runs` says whether it starts processes."""

    name: str
    run: Callable[[Subject], Outcome]
    runs: bool = False


@dataclass(frozen=True)
class Suite:
    """Every test of the configurations; `broken` are files that could not be read."""

    cases: tuple[Case, ...]
    broken: tuple[Result, ...] = ()
    files: tuple[str, ...] = ()
    licenses: bool = False


@dataclass(frozen=True)
class Selection:
    """Bazel's choice of tests: a filter, and one shard of several."""

    pattern: str = ""
    shard: int = 0
    shards: int = 1
    status_file: str = field(default="")

    def apply(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """The chosen tests. Raises PatternError for an invalid filter."""
        chosen = [case for case in cases if not self.pattern or search(self.pattern, case.name)]
        return tuple(chosen[self.shard :: self.shards])


def read_selection(environ: Mapping[str, str]) -> Selection:
    """What the test environment of Bazel asks for."""
    return Selection(
        pattern=environ.get("TESTBRIDGE_TEST_ONLY", ""),
        shard=int(environ.get("TEST_SHARD_INDEX") or 0),
        shards=int(environ.get("TEST_TOTAL_SHARDS") or 1),
        status_file=environ.get("TEST_SHARD_STATUS_FILE", ""),
    )


def read_suite(
    configs: Sequence[Path],
    image_configs: Sequence[Path],
    *,
    timeout: float,
    environ: Mapping[str, str],
) -> Suite:
    """Reads every file; one that is broken is a failed result and the others go on."""
    cases: list[Case] = []
    broken: list[Result] = []
    files: list[str] = []
    licenses = False
    for path in configs:
        try:
            config = read_config(path)
        except ConfigError as error:
            broken.append(Result(f"Configuration: {path}", (str(error),), 0.0))
            continue
        cases += _cases(config, timeout=timeout, environ=environ)
        files += [test.path for test in config.contents]
        files += [name for test in config.licenses for name in test.files]
        licenses = licenses or any(test.debian for test in config.licenses)
    for path in image_configs:
        try:
            cases += _image_cases(read_image_config(path))
        except ConfigError as error:
            broken.append(Result(f"Configuration: {path}", (str(error),), 0.0))
    return Suite(tuple(cases), tuple(broken), tuple(files), licenses)


def _cases(config: Config, *, timeout: float, environ: Mapping[str, str]) -> list[Case]:
    # The order is upstream's: command, content, existence, licence, metadata.
    cases = [
        Case(
            f"Command Test: {test.name}",
            lambda subject, test=test: checks.check_command(  # type: ignore[misc]
                subject, test, config, timeout=timeout, environ=environ
            ),
            runs=True,
        )
        for test in config.commands
    ]
    cases += [
        Case(f"File Content Test: {t.name}", lambda s, t=t: checks.check_content(s, t))  # type: ignore[misc]
        for t in config.contents
    ]
    cases += [
        Case(f"File Existence Test: {t.name}", lambda s, t=t: checks.check_existence(s, t))  # type: ignore[misc]
        for t in config.existences
    ]
    cases += [
        Case(f"License Test: #{number}", lambda s, t=t: checks.check_licenses(s, t))  # type: ignore[misc]
        for number, t in enumerate(config.licenses)
    ]
    metadata = config.metadata
    if metadata is not None:
        cases.append(Case("Metadata Test", lambda s: checks.check_metadata(s, metadata)))
    return cases


def _image_cases(config: ImageConfig) -> list[Case]:
    cases = [
        Case(
            f"Healthcheck Test: {t.name}",
            lambda s, t=t: image_checks.check_healthcheck(s, t),  # type: ignore[misc]
            runs=True,
        )
        for t in config.healthchecks
    ]
    cases += [
        Case(
            f"Entrypoint Test: {t.name}",
            lambda s, t=t: image_checks.check_entrypoint(s, t),  # type: ignore[misc]
            runs=True,
        )
        for t in config.entrypoints
    ]
    invariants = config.invariants
    if invariants is not None:
        cases.append(
            Case("Invariants Test", lambda s: image_checks.check_invariants(s, invariants))
        )
    return cases


def run_suite(
    layout: Path,
    suite: Suite,
    selection: Selection,
    *,
    driver: str,
    cache: Path,
    show: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Runs the selected tests and shows each result as it comes.

    Raises LayoutError, LayerError and PatternError.
    """
    chosen = selection.apply(suite.cases)
    if suite.cases and not chosen and selection.shards == 1:
        raise PatternError(
            f"--test_filter {selection.pattern!r} matches none of {len(suite.cases)} tests"
        )
    # A broken file belongs to no shard; the first reports it.
    results = list(suite.broken) if selection.shard == 0 else []
    for result in results:
        show(result)
    if not chosen:
        return results
    with open_subject(
        read_layout(layout),
        cache=cache,
        run=driver != "tar" and any(case.runs for case in chosen),
        files=suite.files,
        also=checks.is_license_file if suite.licenses else lambda _: False,
    ) as subject:
        for case in chosen:
            results.append(_run_case(case, subject))
            show(results[-1])
    return results


def _run_case(case: Case, subject: Subject) -> Result:
    started = time.monotonic()
    try:
        outcome = case.run(subject)
    except (SubjectError, *START_ERRORS) as error:
        outcome = Outcome((str(error),))
    seconds = time.monotonic() - started
    return Result(case.name, outcome.errors, seconds, outcome.stdout, outcome.stderr)


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="structure_test", description="Test an OCI image layout without a daemon."
    )
    # Bazel's rules name everything in one file; its paths are relative to the runfiles.
    parser.add_argument("--runfiles", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--image", type=Path, help="OCI layout directory")
    parser.add_argument(
        "--config", type=Path, action="append", default=[], help="schema 2.0.0; may be repeated"
    )
    parser.add_argument(
        "--image-config", type=Path, action="append", default=[], help="schema image_test/1"
    )
    parser.add_argument(
        "--driver",
        choices=("namespace", "tar"),
        default="namespace",
        help="tar: static checks only, tests that run something fail",
    )
    parser.add_argument("--command-timeout", type=float, default=COMMAND_SECONDS, metavar="SECONDS")
    parser.add_argument("--cache", type=Path, help="where to unpack (default: a temporary place)")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--junit", type=Path, help="write JUnit XML (default: $XML_OUTPUT_FILE)")
    flags = parser.parse_args(argv)
    if flags.target is not None:
        target = json.loads((flags.runfiles / flags.target).read_text())
        flags.image = flags.runfiles / target["image"]
        flags.cache = flags.cache or shared_root()
        flags.driver = target["driver"]
        flags.config += [flags.runfiles / path for path in target["configs"]]
        flags.image_config += [flags.runfiles / path for path in target["image_configs"]]
    if flags.image is None:
        parser.error("--image is missing")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Command line; see the module docstring."""
    flags = parse_flags(argv)
    environ = os.environ
    selection = read_selection(environ)

    def show(result: Result) -> None:
        if flags.output == "text":
            print(report.text(result), flush=True)

    if selection.status_file:
        Path(selection.status_file).touch()  # Tells Bazel that sharding is understood.
    suite = read_suite(
        flags.config, flags.image_config, timeout=flags.command_timeout, environ=environ
    )
    try:
        with tempfile.TemporaryDirectory(dir=environ.get("TEST_TMPDIR")) as temporary:
            cache = flags.cache or Path(temporary)
            results = run_suite(
                flags.image, suite, selection, driver=flags.driver, cache=cache, show=show
            )
    except (LayoutError, PatternError, SubjectError, *START_ERRORS) as error:
        results = [Result("Image", (str(error),), 0.0)]
        show(results[0])
    if not suite.cases and not suite.broken:
        results = [Result("Configuration", ("no tests are configured",), 0.0)]
        show(results[0])
    print(report.as_json(results) if flags.output == "json" else report.summary(results))
    junit = flags.junit or environ.get("XML_OUTPUT_FILE")
    if junit:
        Path(junit).write_bytes(report.as_junit(results))
    # An empty shard is no failure: there may be more shards than tests.
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
