"""What upstream's tool accepts, refuses, and reads otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.structure_test.fields import ConfigError
from tools.structure_test.schema import read_config
from tools.structure_test.upstream_schema import SCHEMA, judge, main


def sample(wanted: Any) -> Any:
    """A value of a type of SCHEMA with every field given."""
    if isinstance(wanted, dict):
        return {name: sample(inner) for name, inner in wanted.items()}
    if isinstance(wanted, list):
        return [sample(wanted[0])]
    return {"string": "x", "int": 1, "bool": False}[wanted]


def full() -> dict[str, Any]:
    """A configuration with every field upstream knows."""
    value = {**sample(SCHEMA), "schemaVersion": "2.0.0"}
    value["fileExistenceTests"][0]["isExecutableBy"] = "any"
    return value


def written(tmp_path: Path, text: str, name: str = "x.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_every_field_upstream_knows_is_accepted_by_both(tmp_path: Path) -> None:
    value = full()
    path = written(tmp_path, yaml.safe_dump(value))
    assert judge(path).errors == ()
    assert read_config(path).commands[0].name == "x"


ACCEPTED = [
    "schemaVersion: 2.0.0",
    "schemaVersion: '2.0.0'\nmetadataTest: {user: 1000, labels: [{key: a, value: 1.10}]}",
    "schemaVersion: 2.0.0\nfileExistenceTests:",
    "schemaVersion: 2.0.0\nlicenseTests: [{debian: on, files: null}]",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_upstream_accepts_is_accepted_by_both(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert judge(path).errors == ()
    read_config(path)


REFUSED = [
    ("colour: red", "line 2: the file: the field 'colour' is unknown"),
    ("commandTests: [{name: n, command: c, x: 1}]", "the field 'x' is unknown"),
    ("metadataTest: {env: []}", "line 2: metadataTest: the field 'env' is unknown"),
    ("commandTests: []\ncommandTests: []", "line 3: the file: the field 'commandTests' is given"),
    ("commandTests: {name: n}", "commandTests: wanted a list, found a map"),
    ("metadataTest: []", "metadataTest: wanted a mapping, found a seq"),
    ("metadataTest: {user: [a]}", "metadataTest.user: wanted a value of type string, found a seq"),
    (
        "commandTests: [{name: n, command: c, exitCode: '3'}]",
        "commandTests[0].exitCode: wanted a value of type int, found '3' of type str",
    ),
    (
        "fileExistenceTests: [{name: n, path: /p, shouldExist: 'true'}]",
        "fileExistenceTests[0].shouldExist: wanted a value of type bool, found 'true' of type str",
    ),
    (
        "fileExistenceTests: [{name: n, path: /p, uid: root}]",
        "fileExistenceTests[0].uid: wanted a value of type int, found 'root' of type str",
    ),
    ("fileExistenceTests: [{name: n, path: ~}]", "fileExistenceTests[0]: path may not be empty"),
    ("fileContentTests: [{path: /p}]", "fileContentTests[0]: name may not be empty"),
    ("commandTests: [{name: n}]", "commandTests[0]: command may not be empty"),
    (
        "commandTests: [{name: n, command: c, envVars: [{key: k}]}]",
        "commandTests[0]: envVars: key and value are needed",
    ),
]


@pytest.mark.parametrize(("text", "cause"), REFUSED)
def test_what_upstream_refuses_is_refused_by_both(tmp_path: Path, text: str, cause: str) -> None:
    path = written(tmp_path, f"schemaVersion: 2.0.0\n{text}\n")
    (error,) = judge(path).errors
    assert str(path) in error
    assert cause in error
    with pytest.raises(ConfigError):
        read_config(path)


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("x.yaml", "a: [", "is not YAML"),
        ("x.yaml", "- a", "is no mapping"),
        ("x.yaml", "licenseTests: []", "schemaVersion: upstream knows"),
        ("x.yaml", "schemaVersion: 1.0.0", "write 2.0.0; 1.0.0 is not run here"),
        ("x.yaml", "schemaVersion: '3'", "schemaVersion: upstream knows"),
        ("x.json", "{", "is not JSON"),
        ("x.json", "[]", "wanted a mapping, found []"),
        ("x.json", '{"schemaVersion": 2}', "schemaVersion: wanted a value of type string, found 2"),
        ("x.toml", "", "upstream takes names that end in .json, .yaml or .yml"),
    ],
)
def test_files_upstream_cannot_read_are_named(
    tmp_path: Path, name: str, text: str, cause: str
) -> None:
    path = written(tmp_path, text, name)
    (error,) = judge(path).errors
    assert error.startswith(str(path))
    assert cause in error


def test_what_upstream_reads_otherwise_in_json_is_a_warning(tmp_path: Path) -> None:
    value = {
        "schemaversion": "2.0.0",
        "fileExistenceTests": [{"name": "n", "path": "/p", "uid": 0, "sticky": True}],
        "containerRunOptions": {"allocateTty": True},
    }
    path = written(tmp_path, json.dumps(value), "x.json")
    assert judge(path).errors == ()
    assert judge(path).warnings == (
        f"{path}: fileExistenceTests[0]: upstream ignores 'sticky'",
        f"{path}: containerRunOptions: upstream ignores 'allocateTty'",
        f"{path}: fileExistenceTests[0]: shouldExist is not given, and false to upstream",
        f"{path}: fileExistenceTests[0]: gid is not given, and 0 to upstream",
    )


def test_variables_that_upstream_drops_are_a_warning(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "schemaVersion: 2.0.0\ncontainerRunOptions: {user: root}\n"
        "commandTests: [{name: n, command: c, envVars: [{key: a, value: b}]}]",
    )
    assert judge(path).warnings == (
        f"{path}: commandTests[0]: upstream drops envVars beside containerRunOptions",
    )


def test_the_command_writes_its_output_only_when_every_file_is_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path, "schemaVersion: 2.0.0", "good.yaml")
    bad = written(tmp_path, "schemaVersion: 2.0.0\nx: 1", "bad.yaml")
    output = tmp_path / "out"
    assert main(["--config", str(good), "--config", str(bad), "--output", str(output)]) == 1
    assert "ERROR: upstream's tool refuses this file: " in capsys.readouterr().err
    assert not output.exists()
    assert main(["--config", str(good), "--output", str(output)]) == 0
    assert output.read_text() == f"{good}\n"
