"""Validate configurations of container_structure_test when they are built.

    validate --config tests.yaml --config more.json --output checked.txt

A file must be one that our runner reads and that upstream's tool, container-structure-test 1.22,
accepts as well: so its types must also be those of Go's yaml.v2 in strict mode, where only an
integer is an int and only a boolean a bool. What upstream reads differently is a warning.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.cli import ToolError, tool
from tools.structure_test.fields import ConfigError
from tools.structure_test.schema import Config, RunOptions, read_config

# Upstream applies these defaults in YAML; in JSON, Go's zero values stand in their place.
_ZERO_IN_JSON = {
    "should_exist": ("shouldExist", "false"),
    "uid": ("uid", "0"),
    "gid": ("gid", "0"),
}


@dataclass(frozen=True)
class Findings:
    """`errors`: the file cannot be used. `warnings`: upstream reads it differently."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(path: Path) -> Findings:
    """Return what is wrong with one file, and what upstream reads differently."""
    try:
        config = read_config(path, upstream=True)
    except ConfigError as error:
        return Findings(error.problems)
    warnings = [*(_in_json(config) if path.suffix == ".json" else ()), *_dropped_variables(config)]
    return Findings(warnings=tuple(f"{path}: {warning}" for warning in warnings))


def _in_json(config: Config) -> list[str]:
    warnings = [
        f"fileExistenceTests[{number}]: {field} is not given, and {zero} to upstream"
        for number, test in enumerate(config.file_existence_tests)
        for name, (field, zero) in _ZERO_IN_JSON.items()
        if name not in test.model_fields_set
    ]
    # The Go field is called TTY, which only YAML maps to another name.
    if "allocate_tty" in config.container_run_options.model_fields_set:
        warnings.append("containerRunOptions: upstream ignores 'allocateTty'")
    return warnings


def _dropped_variables(config: Config) -> list[str]:
    if config.container_run_options == RunOptions():
        return []
    return [
        f"commandTests[{number}]: upstream drops envVars beside containerRunOptions"
        for number, test in enumerate(config.command_tests)
        if test.env_vars
    ]


@tool("container_structure_test")
def main(argv: list[str] | None = None) -> None:
    """Run the command line; raise ToolError when a file cannot be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", type=Path, action="append", required=True, help="file to read")
    parser.add_argument("--output", type=Path, help="list of the files, written if all are valid")
    flags = parser.parse_args(argv)
    findings = [judge(path) for path in flags.config]
    for finding in findings:
        for warning in finding.warnings:
            print(f"WARNING: {warning}", file=sys.stderr)
    errors = [error for finding in findings for error in finding.errors]
    if errors:
        raise ToolError("\n".join(errors))
    if flags.output is not None:
        flags.output.write_text("".join(f"{path}\n" for path in flags.config))


if __name__ == "__main__":
    sys.exit(main())
