"""Run structure tests against an image, with no daemon and no root.

    structure_test --image IMAGE --config tests.yaml --image-config more.yaml

IMAGE is an OCI layout directory or an archive of an image. `--config` files have the schema of
container_structure_test (schema.py), `--image-config` files ours (image_schema.py). Upstream's
flags are accepted where they apply. The exit code is 0 when every test passed, 1 when one failed or
none ran, 2 for invalid flags. Under Bazel the report, --test_filter and sharding follow the test
environment (Bazel's test encyclopedia).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tools.cli import ToolError
from tools.image.cache import shared_root
from tools.structure_test import report
from tools.structure_test.report import Result
from tools.structure_test.suite import (
    COMMAND_SECONDS,
    Case,
    RunnerConfig,
    Suite,
    read_selection,
    read_suite,
    run_suite,
)

DRIVERS = ("namespace", "docker", "tar")
HOST_DRIVER = (
    "driver 'host' would run the image's tests on this machine and change it; leave the driver out "
    "to run them in a container without a daemon"
)
# Upstream's flags that do not apply here, and why.
REFUSED = {
    "--metadata": "belongs to driver 'host', which is refused: it would change this machine",
    "--force": "belongs to driver 'host', which is refused: it would change this machine",
    "--pull": "images are files; pull it, or name an image of the engine (--driver docker)",
    "--save": "containers are always removed; the output of a test is in its report",
}


class _Refuse(argparse.Action):
    """Exit with the reason why a flag of upstream's is not supported."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        _namespace: argparse.Namespace,
        _values: Any,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.error(f"{option_string}: {REFUSED[self.option_strings[-1]]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="structure_test", description="Test a container image without a daemon."
    )
    # Upstream's command; this program has no other.
    parser.add_argument("command", nargs="?", choices=("test",), help=argparse.SUPPRESS)
    # Bazel's rules write everything to one file; its paths are relative to the runfiles.
    parser.add_argument("--runfiles", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    image = parser.add_mutually_exclusive_group()
    image.add_argument(
        "-i",
        "--image",
        metavar="IMAGE",
        help="OCI layout directory, or docker-archive or OCI archive (.tar, .tgz); with --driver "
        "docker also the name of an image of the engine",
    )
    image.add_argument(
        "--image-from-oci-layout", dest="image", metavar="DIR", help="the same for a layout"
    )
    parser.add_argument(
        "-c", "--config", type=Path, action="append", default=[], metavar="FILE",
        help="tests in schema 2.0.0; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--image-config", type=Path, action="append", default=[], metavar="FILE",
        help="tests in schema image_test/1; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "-d", "--driver", choices=(*DRIVERS, "host"), default=DRIVERS[0],
        help="namespace: containers of our own (default); docker: Docker or Podman; tar: static "
        "checks only, any other test fails",
    )  # fmt: skip
    parser.add_argument(
        "--platform", default="", metavar="OS/ARCH[/VARIANT]",
        help="image of an index to test; a single image must be for it",
    )  # fmt: skip
    parser.add_argument(
        "--engine", default="", metavar="PROGRAM",
        help="with --driver docker (default: docker, else podman)",
    )  # fmt: skip
    parser.add_argument(
        "--runtime", default="", metavar="NAME", help="the engine's runtime, with --driver docker"
    )
    parser.add_argument(
        "--command-timeout", type=float, default=COMMAND_SECONDS, metavar="SECONDS",
        help=f"for each command (default: {COMMAND_SECONDS:g})",
    )  # fmt: skip
    parser.add_argument(
        "--cache", type=Path, help="where to unpack (default: a temporary directory)"
    )
    parser.add_argument(
        "--emulator", type=Path, metavar="PROGRAM",
        help="static qemu-user, for an image of another architecture",
    )  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="print no report")
    parser.add_argument(
        "-o", "--output", choices=("text", "json", "junit"), default="text",
        help="format of the output (default: text)",
    )  # fmt: skip
    parser.add_argument(
        "--test-report", type=Path, metavar="FILE",
        help="write a report, JUnit XML with --output junit, else JSON; text is still printed",
    )  # fmt: skip
    parser.add_argument(
        "--junit-suite-name",
        default=os.environ.get("TEST_TARGET", report.SUITE),
        metavar="NAME",
        help="in JUnit XML (default: under Bazel the test's label)",
    )
    parser.add_argument("--no-color", action="store_true", help="no colours on a terminal")
    # The engine's name of the image is made from its digest.
    parser.add_argument("--default-image-tag", help=argparse.SUPPRESS)
    parser.add_argument("--ignore-ref-annotation", action="store_true", help=argparse.SUPPRESS)
    for flag in REFUSED:
        names = ("-f", flag) if flag == "--force" else (flag,)
        parser.add_argument(*names, action=_Refuse, nargs="?", help=argparse.SUPPRESS)
    return parser


def parse_flags(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; exits with code 2 when it is wrong."""
    parser = _parser()
    flags = parser.parse_args(argv)
    # `bazel run` starts programs in another directory and passes the user's.
    here = Path(os.environ.get("BUILD_WORKING_DIRECTORY", ""))
    flags.config = [here / path for path in flags.config]
    flags.image_config = [here / path for path in flags.image_config]
    for name in ("test_report", "cache", "emulator"):
        if getattr(flags, name) is not None:
            setattr(flags, name, here / getattr(flags, name))
    if flags.image is not None and (here / flags.image).exists():
        flags.image = here / flags.image
    if flags.target is not None:
        target = json.loads((flags.runfiles / flags.target).read_text())
        flags.image = flags.runfiles / target["image"]
        flags.cache = flags.cache or shared_root()
        flags.driver = target["driver"]
        for path in target.get("emulator", ()):
            flags.emulator = flags.runfiles / path
        flags.platform = flags.platform or target["platform"]
        flags.config += [flags.runfiles / path for path in target["configs"]]
        flags.image_config += [flags.runfiles / path for path in target["image_configs"]]
    if flags.driver == "host":
        parser.error(HOST_DRIVER)
    if flags.image is None:
        parser.error("--image is required")
    return flags


class _Printer:
    """Print results one by one, under the name of their file."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._file = ""

    def show(self, case: Case | None, result: Result) -> None:
        """Print one result."""
        if case is not None and case.file != self._file:
            self._file = case.file
            print(report.banner(self._file), flush=True)
        print(report.text(result, colour=self._colour), flush=True)


def _run(flags: argparse.Namespace, suite: Suite, environ: Mapping[str, str]) -> list[Result]:
    """Run the tests; an error that prevents all of them is a failed result of its own."""
    colour = sys.stdout.isatty() and not flags.no_color and "NO_COLOR" not in environ
    printer = _Printer(colour=colour)
    quiet = flags.quiet or (flags.output != "text" and flags.test_report is None)
    show = (lambda _case, _result: None) if quiet else printer.show
    selection = read_selection(environ)
    if selection.status_file:
        Path(selection.status_file).touch()  # Tells Bazel that this runner supports sharding.
    runner = RunnerConfig(
        driver=flags.driver,
        environ=environ,
        cache=flags.cache,
        emulator=flags.emulator,
        platform=flags.platform,
        engine=flags.engine,
        runtime=flags.runtime,
    )
    try:
        results = run_suite(flags.image, suite, selection, runner, show=show)
    except ToolError as error:
        results = [Result("Image", (str(error),), 0.0)]
        show(None, results[0])
    if not suite.cases and not suite.broken:
        results = [Result("Configuration", ("no tests are configured",), 0.0)]
        show(None, results[0])
    if not quiet:
        print(report.summary(results, colour=colour), flush=True)
    return results


def main(argv: list[str] | None = None) -> int:
    """Run the command line; see the module docstring."""
    flags = parse_flags(argv)
    environ = os.environ
    suite = read_suite(
        flags.config, flags.image_config, timeout=flags.command_timeout, environ=environ
    )
    results = _run(flags, suite, environ)
    junit = report.as_junit(results, suite=flags.junit_suite_name)
    data = junit if flags.output == "junit" else report.as_json(results).encode() + b"\n"
    if flags.test_report is not None:
        flags.test_report.write_bytes(data)
    elif flags.output != "text" and not flags.quiet:
        sys.stdout.write(data.decode())
    if environ.get("XML_OUTPUT_FILE"):
        Path(environ["XML_OUTPUT_FILE"]).write_bytes(junit)
    # An empty shard passes: there may be more shards than tests.
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
