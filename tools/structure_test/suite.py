"""Configurations → tests → results: read the tests, select some, run them."""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.cli import ToolError
from tools.image.source import Source, open_source
from tools.structure_test import checks, image_checks
from tools.structure_test.checks import Outcome
from tools.structure_test.command_checks import check_command
from tools.structure_test.engine import Engine, choose_engine, save_image
from tools.structure_test.fields import ConfigError
from tools.structure_test.go_text import PatternError, search
from tools.structure_test.image_schema import ImageConfig, read_image_config
from tools.structure_test.image_under_test import ImageUnderTest, open_image_under_test
from tools.structure_test.report import Result
from tools.structure_test.schema import Config, read_config

COMMAND_SECONDS = 300.0


@dataclass(frozen=True)
class Case:
    """One test.

    `runs`: it starts processes. `reads`: it reads more than the image's configuration. `file`: the
    configuration it is from.
    """

    name: str
    run: Callable[[ImageUnderTest], Outcome]
    runs: bool = False
    reads: bool = True
    file: str = ""


@dataclass(frozen=True)
class Suite:
    """Every test of the configurations; `broken` has a failure for each invalid file."""

    cases: tuple[Case, ...]
    broken: tuple[Result, ...] = ()
    files: tuple[str, ...] = ()
    licenses: bool = False


@dataclass(frozen=True)
class Selection:
    """Bazel's selection of tests: a filter, and one of several shards."""

    pattern: str = ""
    shard: int = 0
    shards: int = 1
    status_file: str = ""

    def apply(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        """Return the selected tests; raise PatternError for an invalid filter."""
        chosen = [case for case in cases if not self.pattern or search(self.pattern, case.name)]
        return tuple(chosen[self.shard :: self.shards])


def read_selection(environ: Mapping[str, str]) -> Selection:
    """Return the selection in Bazel's test environment."""
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
    timeout: float = COMMAND_SECONDS,
    environ: Mapping[str, str],
) -> Suite:
    """Read every file; an invalid one becomes a failed result."""
    cases: list[Case] = []
    broken: list[Result] = []
    files: list[str] = []
    licenses = False
    for path in configs:
        try:
            config = read_config(path)
        except ConfigError as error:
            broken.append(Result(f"Configuration: {path}", error.problems, 0.0))
            continue
        cases += _cases(config, str(path), timeout=timeout, environ=environ)
        files += [test.path for test in config.file_content_tests]
        files += [name for test in config.license_tests for name in test.files]
        licenses = licenses or any(test.debian for test in config.license_tests)
    for path in image_configs:
        try:
            cases += _image_cases(read_image_config(path), str(path))
        except ConfigError as error:
            broken.append(Result(f"Configuration: {path}", error.problems, 0.0))
    return Suite(tuple(cases), tuple(broken), tuple(files), licenses)


def _cases(
    config: Config, source: str, *, timeout: float, environ: Mapping[str, str]
) -> list[Case]:
    # The order is upstream's: command, content, existence, licence, metadata.
    variables = config.global_env_vars
    cases = [
        Case(
            f"Command Test: {test.name}",
            lambda subject, test=test: check_command(  # type: ignore[misc]
                subject, test, config, source=source, timeout=timeout, environ=environ
            ),
            runs=True,
        )
        for test in config.command_tests
    ]
    cases += [
        Case(f"File Content Test: {t.name}", lambda s, t=t: checks.check_content(s, t))  # type: ignore[misc]
        for t in config.file_content_tests
    ]
    cases += [
        Case(
            f"File Existence Test: {t.name}",
            lambda s, t=t: checks.check_existence(s, t, variables),  # type: ignore[misc]
        )
        for t in config.file_existence_tests
    ]
    cases += [
        Case(f"License Test: #{number}", lambda s, t=t: checks.check_licenses(s, t))  # type: ignore[misc]
        for number, t in enumerate(config.license_tests)
    ]
    metadata = config.metadata_test
    if metadata is not None:
        cases.append(
            Case("Metadata Test", lambda s: checks.check_metadata(s, metadata), reads=False)
        )
    return [replace(case, file=source) for case in cases]


def _image_cases(config: ImageConfig, source: str) -> list[Case]:
    cases = [
        Case(
            f"Healthcheck Test: {t.name}",
            lambda s, t=t: image_checks.check_healthcheck(s, t),  # type: ignore[misc]
            runs=True,
        )
        for t in config.healthcheck_tests
    ]
    cases += [
        Case(
            f"Entrypoint Test: {t.name}",
            lambda s, t=t: image_checks.check_entrypoint(s, t),  # type: ignore[misc]
            runs=True,
        )
        for t in config.entrypoint_tests
    ]
    invariants = config.invariants
    if invariants is not None:
        cases.append(
            Case("Invariants Test", lambda s: image_checks.check_invariants(s, invariants))
        )
        cases += [
            Case(
                f"Invariants Test: {test.name}",
                lambda s, t=test: image_checks.check_healthcheck(s, t),  # type: ignore[misc]
                runs=True,
            )
            for test in invariants.restricted
        ]
    return [replace(case, file=source) for case in cases]


@dataclass(frozen=True)
class RunnerConfig:
    """How the tests run.

    driver: "namespace" (ours), "docker", or "tar" for static checks only.
    cache: where images are unpacked; None for a directory of this run.
    emulator: runs commands of another architecture (tools/container/emulator.py).
    platform: os/architecture[/variant]; "" for the one image there is.
    engine: with driver "docker", the program; "" for the first that works.
    runtime: with driver "docker", the engine's OCI runtime; "" for its default.
    """

    driver: str
    environ: Mapping[str, str]
    cache: Path | None = None
    emulator: Path | None = None
    platform: str = ""
    engine: str = ""
    runtime: str = ""


def run_suite(
    image: str | Path,
    suite: Suite,
    selection: Selection,
    runner: RunnerConfig,
    *,
    show: Callable[[Case | None, Result], None] = lambda _case, _result: None,
) -> list[Result]:
    """Run the selected tests on a layout, an archive or an engine's image.

    `show` is called with each result, and its case unless the file is invalid. Raise ToolError or
    ToolError if no test can run.
    """
    chosen = selection.apply(suite.cases)
    if suite.cases and not chosen and selection.shards == 1:
        raise PatternError(
            f"--test_filter {selection.pattern!r} matches none of {len(suite.cases)} tests"
        )
    # An invalid file belongs to no shard; the first shard reports it.
    results = list(suite.broken) if selection.shard == 0 else []
    for result in results:
        show(None, result)
    if not chosen:
        return results
    with _opened(image, suite, chosen, runner) as subject:
        for case in chosen:
            results.append(_run_case(case, subject))
            show(case, results[-1])
    return results


@contextlib.contextmanager
def _opened(
    image: str | Path, suite: Suite, chosen: Sequence[Case], runner: RunnerConfig
) -> Iterator[ImageUnderTest]:
    """Open the image as the selected tests need it."""
    runs = any(case.runs for case in chosen)
    program, unpack = "", runs and runner.driver == "namespace"
    with tempfile.TemporaryDirectory(dir=runner.environ.get("TEST_TMPDIR")) as temporary:
        path, scratch = Path(image), Path(temporary, "image")
        scratch.mkdir()
        if runner.driver == "docker" and (runs or not path.exists()):
            program = choose_engine(runner.environ, runner.engine)
        if program and not path.exists():
            path = Path(temporary, "saved.tar")
            save_image(program, str(image), path, environ=runner.environ)
        with (
            open_source(path, platform=runner.platform, scratch=scratch) as source,
            open_image_under_test(
                source.image,
                layers=any(case.reads for case in chosen),
                cache=runner.cache or (Path(temporary, "rootfs") if unpack else None),
                runs=unpack,
                emulator=runner.emulator,
                engine=_engine(program, source, runner),
                files=suite.files,
                also=checks.is_license_file if suite.licenses else lambda _: False,
            ) as subject,
        ):
            yield subject


def _engine(program: str, source: Source, runner: RunnerConfig) -> Engine | None:
    if not program:
        return None
    return Engine(program, source, environ=runner.environ, runtime=runner.runtime)


def _run_case(case: Case, subject: ImageUnderTest) -> Result:
    started = time.monotonic()
    try:
        outcome = case.run(subject)
    except ToolError as error:
        outcome = Outcome((str(error),))
    except Exception as error:  # noqa: BLE001 - a defect in one test must not end the others
        traceback.print_exc()
        outcome = Outcome((f"internal error: {error!r}; its traceback is on stderr",))
    seconds = time.monotonic() - started
    return Result(case.name, outcome.errors, seconds, outcome.stdout, outcome.stderr)
