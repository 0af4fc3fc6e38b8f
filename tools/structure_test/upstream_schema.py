"""What upstream's own tool makes of a configuration: container-structure-test 1.22, schema 2.0.0.

    upstream_schema --config tests.yaml --config more.json --output checked.txt

Errors are what it refuses, warnings what it reads otherwise than this folder's runner. The rule
container_structure_test runs this on each of its configurations when it is built, so that every
one of them can be given to upstream's tool as well. Written from upstream's field names and types
and knowing nothing of schema.py, so that a slip there is found here.

Types are those of Go's yaml.v2 in strict mode: an unquoted scalar of any type fits a string, only
an integer an int, only a boolean a bool, null fits everything; a field that is not known or given
twice is refused. encoding/json matches names whatever their case and ignores what it does not know.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

VERSIONS = ("1.0.0", "2.0.0")
TESTED_VERSION = "2.0.0"

# Field name to type: "string", "int", "bool", [type] for a list, {name: type} for a struct.
VARIABLE = {"key": "string", "value": "string", "isRegex": "bool"}
SCHEMA: Mapping[str, Any] = {
    "schemaVersion": "string",
    "globalEnvVars": [VARIABLE],
    "commandTests": [
        {
            "name": "string",
            "setup": [["string"]],
            "teardown": [["string"]],
            "envVars": [VARIABLE],
            "exitCode": "int",
            "command": "string",
            "args": ["string"],
            "expectedOutput": ["string"],
            "excludedOutput": ["string"],
            "expectedError": ["string"],
            "excludedError": ["string"],
        }
    ],
    "fileExistenceTests": [
        {
            "name": "string",
            "path": "string",
            "shouldExist": "bool",
            "permissions": "string",
            "uid": "int",
            "gid": "int",
            "isExecutableBy": "string",
        }
    ],
    "fileContentTests": [
        {
            "name": "string",
            "path": "string",
            "expectedContents": ["string"],
            "excludedContents": ["string"],
        }
    ],
    "metadataTest": {
        "envVars": [VARIABLE],
        "unboundEnvVars": [VARIABLE],
        "exposedPorts": ["string"],
        "unexposedPorts": ["string"],
        "entrypoint": ["string"],
        "cmd": ["string"],
        "workdir": "string",
        "volumes": ["string"],
        "unmountedVolumes": ["string"],
        "labels": [VARIABLE],
        "user": "string",
    },
    "licenseTests": [{"debian": "bool", "files": ["string"]}],
    "containerRunOptions": {
        "user": "string",
        "privileged": "bool",
        "allocateTty": "bool",
        "envFile": "string",
        "envVars": ["string"],
        "capabilities": ["string"],
        "bindMounts": ["string"],
    },
}
# Fields that a test may not leave empty.
REQUIRED: Mapping[str, Sequence[str]] = {
    "commandTests": ("name", "command"),
    "fileExistenceTests": ("name", "path"),
    "fileContentTests": ("name", "path"),
}
# Go's defaults, which in JSON stand where YAML has others.
JSON_DEFAULTS = {"shouldExist": "false", "uid": "0", "gid": "0"}
JSON_UNKNOWN = ("allocateTty",)  # The Go field is called TTY.
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Findings:
    """`errors`: upstream refuses the file. `warnings`: it reads it, and differently."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(path: Path) -> Findings:
    """What upstream would say of one file."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Findings((f"{path}: cannot be read: {error}",))
    if path.name.endswith(".json"):
        return _judge_json(path, text)
    if path.name.endswith((".yaml", ".yml")):
        return _judge_yaml(path, text)
    return Findings((f"{path}: upstream takes names that end in .json, .yaml or .yml",))


def _judge_yaml(path: Path, text: str) -> Findings:
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        return Findings((f"{path}: is not YAML: {error}",))
    if not isinstance(root, yaml.MappingNode):
        return Findings((f"{path}: is no mapping",))
    errors = [f"{path}, {problem}" for problem in _yaml_problems(root, SCHEMA, "")]
    return _judge_values(path, {} if errors else _value(root), errors, [])


def _value(node: yaml.Node) -> Any:
    """The node as lists, dictionaries, text and None."""
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _value(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    return None if node.tag == _TAG + "null" else node.value


def _yaml_problems(node: yaml.Node, wanted: Any, where: str) -> Iterator[str]:
    """Compares a node with a type of SCHEMA; every problem says its line."""
    line = f"line {node.start_mark.line + 1}: {where or 'the file'}"
    tag = str(node.tag).removeprefix(_TAG)
    if isinstance(node, yaml.ScalarNode) and tag == "null":
        return
    if isinstance(wanted, dict) and isinstance(node, yaml.MappingNode):
        yield from _mapping_problems(node, wanted, where)
    elif isinstance(wanted, list) and isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _yaml_problems(value, wanted[0], f"{where}[{number}]")
    elif not isinstance(wanted, str) or not isinstance(node, yaml.ScalarNode):
        yield f"{line}: wanted {_shape(wanted)}, found a {tag}"
    elif wanted not in ("string", tag):
        yield f"{line}: wanted {_shape(wanted)}, found {node.value!r} of type {tag}"
    elif tag == "binary":
        yield f"{line}: wanted a string, found binary data"


def _mapping_problems(
    node: yaml.MappingNode, wanted: Mapping[str, Any], where: str
) -> Iterator[str]:
    seen: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        line = f"line {key.start_mark.line + 1}: {where or 'the file'}"
        if name in seen:
            yield f"{line}: the field {name!r} is given twice"
        elif name not in wanted:
            yield f"{line}: the field {name!r} is unknown"
        else:
            yield from _yaml_problems(value, wanted[name], f"{where}.{name}".lstrip("."))
        seen.add(name)


def _shape(wanted: Any) -> str:
    if isinstance(wanted, str):
        return f"a value of type {wanted}"
    return "a mapping" if isinstance(wanted, dict) else "a list"


def _judge_json(path: Path, text: str) -> Findings:
    try:
        value = json.loads(text)
    except ValueError as error:
        return Findings((f"{path}: is not JSON: {error}",))
    errors: list[str] = []
    warnings: list[str] = []
    value = _from_json(value, SCHEMA, "", errors, warnings)
    for number, test in enumerate(value.get("fileExistenceTests") or [] if value else []):
        for name, default in JSON_DEFAULTS.items():
            if name not in test:
                warnings.append(
                    f"fileExistenceTests[{number}]: {name} is not given, and {default} to upstream"
                )
    return _judge_values(
        path,
        value,
        [f"{path}: {error}" for error in errors],
        [f"{path}: {warning}" for warning in warnings],
    )


def _from_json(value: Any, wanted: Any, where: str, errors: list[str], warnings: list[str]) -> Any:
    """The value with field names as in SCHEMA, as encoding/json would fill Go's structs."""
    kinds = {"string": str, "int": int, "bool": bool}
    if value is None:
        return None
    if isinstance(wanted, dict) and isinstance(value, dict):
        names = {name.lower(): name for name in wanted if name not in JSON_UNKNOWN}
        result = {}
        for key, item in value.items():
            name = names.get(key.lower())
            if name is None:
                warnings.append(f"{where or 'the file'}: upstream ignores {key!r}")
                continue
            inner = f"{where}.{name}".lstrip(".")
            result[name] = _from_json(item, wanted[name], inner, errors, warnings)
        return result
    if isinstance(wanted, list) and isinstance(value, list):
        return [
            _from_json(item, wanted[0], f"{where}[{number}]", errors, warnings)
            for number, item in enumerate(value)
        ]
    if isinstance(wanted, str) and type(value) is kinds[wanted]:
        return value
    errors.append(f"{where or 'the file'}: wanted {_shape(wanted)}, found {value!r}")
    return {} if isinstance(wanted, dict) else None


def _judge_values(
    path: Path, value: Mapping[str, Any], errors: list[str], warnings: list[str]
) -> Findings:
    """What is checked once the file has its shape: version, mandatory fields, traps."""
    if errors:
        return Findings(tuple(errors), tuple(warnings))
    version = value.get("schemaVersion")
    if version not in VERSIONS:
        errors.append(f"{path}: schemaVersion: upstream knows {VERSIONS}, found {version!r}")
    elif version != TESTED_VERSION:
        errors.append(f"{path}: schemaVersion: write {TESTED_VERSION}; {version} is not run here")
    for section, names in REQUIRED.items():
        for number, test in enumerate(value.get(section) or []):
            errors += [
                f"{path}: {section}[{number}]: {name} may not be empty"
                for name in names
                if not (test or {}).get(name)
            ]
    options = value.get("containerRunOptions") or {}
    for number, test in enumerate(value.get("commandTests") or []):
        for variable in (test or {}).get("envVars") or []:
            if not (variable or {}).get("key") or not variable.get("value"):
                errors.append(f"{path}: commandTests[{number}]: envVars: key and value are needed")
        if any(options.values()) and (test or {}).get("envVars"):
            warnings.append(
                f"{path}: commandTests[{number}]: upstream drops envVars beside containerRunOptions"
            )
    return Findings(tuple(errors), tuple(warnings))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module docstring. Exit code 1 when upstream refuses a file."""
    parser = argparse.ArgumentParser(description="Hold configurations against upstream's schema.")
    parser.add_argument("--config", type=Path, action="append", required=True)
    parser.add_argument("--output", type=Path, help="written when every file is accepted")
    flags = parser.parse_args(argv)
    findings = [judge(path) for path in flags.config]
    for finding in findings:
        for warning in finding.warnings:
            print(f"WARNING: {warning}", file=sys.stderr)
        for error in finding.errors:
            print(f"ERROR: upstream's tool refuses this file: {error}", file=sys.stderr)
    if any(finding.errors for finding in findings):
        return 1
    if flags.output is not None:
        flags.output.write_text("".join(f"{path}\n" for path in flags.config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
