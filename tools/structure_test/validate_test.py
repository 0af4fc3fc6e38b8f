"""What a build refuses in a configuration, and what upstream's tool reads differently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.structure_test.fields import ConfigError
from tools.structure_test.schema import Config, LicenseTest, RunOptions, read_config
from tools.structure_test.validate import judge, main

# Upstream's field names and types, copied from its Go structs and not from our models: "string",
# "int", "bool", [type] for a list, {name: type} for a struct.
VARIABLE = {"key": "string", "value": "string", "isRegex": "bool"}
UPSTREAM: dict[str, Any] = {
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


def sample(wanted: Any) -> Any:
    """A value of a type of UPSTREAM with every field given."""
    if isinstance(wanted, dict):
        return {name: sample(inner) for name, inner in wanted.items()}
    if isinstance(wanted, list):
        return [sample(wanted[0])]
    return {"string": "x", "int": 1, "bool": False}[wanted]


def full() -> dict[str, Any]:
    """A configuration with every field upstream knows."""
    value = {**sample(UPSTREAM), "schemaVersion": "2.0.0"}
    value["fileExistenceTests"][0]["isExecutableBy"] = "any"
    return value


def written(tmp_path: Path, text: str, name: str = "x.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_every_field_of_upstream_is_accepted(tmp_path: Path) -> None:
    value = full()
    path = written(tmp_path, yaml.safe_dump(value))
    assert judge(path).errors == ()
    assert read_config(path).command_tests[0].name == "x"


def names_and_types(definitions: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A JSON Schema in the words of UPSTREAM."""
    if "$ref" in schema:
        return names_and_types(definitions, definitions[schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        (inner,) = (each for each in schema["anyOf"] if each != {"type": "null"})
        return names_and_types(definitions, inner)
    if schema["type"] == "array":
        return [names_and_types(definitions, schema["items"])]
    if schema["type"] == "object":
        assert schema["additionalProperties"] is False
        return {
            name: names_and_types(definitions, inner)
            for name, inner in schema["properties"].items()
        }
    return {"string": "string", "integer": "int", "boolean": "bool"}[schema["type"]]


def test_our_models_have_exactly_upstreams_fields_and_types() -> None:
    schema = Config.model_json_schema(by_alias=True)
    assert names_and_types(schema["$defs"], schema) == UPSTREAM


ACCEPTED = [
    "schemaVersion: 2.0.0",
    "schemaVersion: '2.0.0'\nmetadataTest: {user: 1000, labels: [{key: a, value: 1.10}]}",
    "schemaVersion: 2.0.0\nfileExistenceTests:",
    "schemaVersion: 2.0.0\nlicenseTests: [{debian: on, files: null}]",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_the_build_and_the_runner_accept_what_upstream_does(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert judge(path).errors == ()
    read_config(path)


# The verdict on each is that of upstream's own program, version 1.19.1.
MERGED = [
    (
        "&base {name: one, path: /a, permissions: p}\n- {<<: *base, name: two}",
        [("one", "/a", "p"), ("two", "/a", "p")],
    ),
    # What stands later counts, a merged field too.
    (
        "&base {name: one, path: /a}\n- {name: two, path: /b, <<: *base}",
        [("one", "/a", ""), ("one", "/a", "")],
    ),
    ("&a {name: a, path: /a}\n- &b {name: b, path: /b}\n- {<<: [*b, *a], permissions: p}",
     [("a", "/a", ""), ("b", "/b", ""), ("b", "/b", "p")]),
    (
        "&a {name: a, path: /a}\n- &b {<<: *a, name: b}\n- {<<: *b, permissions: p}",
        [("a", "/a", ""), ("b", "/a", ""), ("b", "/a", "p")],
    ),
    ("{<<: {path: /a}, name: n}", [("n", "/a", "")]),
    ("{<<: {path: /a}, <<: {name: n}}", [("n", "/a", "")]),
    ("{!!merge <<: {path: /a}, name: n}", [("n", "/a", "")]),
    (
        "&a {name: a, path: /a, permissions: p}\n- {<<: *a, permissions: ~}",
        [("a", "/a", "p"), ("a", "/a", "")],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "expected"), MERGED)
def test_merge_keys_are_read_as_upstream_reads_them(
    tmp_path: Path, entries: str, expected: list[tuple[str, str, str]]
) -> None:
    path = written(tmp_path, f"schemaVersion: 2.0.0\nfileExistenceTests:\n- {entries}\n")
    assert judge(path).errors == ()
    tests = read_config(path).file_existence_tests
    assert [(test.name, test.path, test.permissions) for test in tests] == expected


def test_a_merged_mapping_adds_to_the_one_of_the_same_field(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "schemaVersion: 2.0.0\n"
        "<<: {containerRunOptions: {user: app, envFile: a}, licenseTests: [{debian: true}]}\n"
        "containerRunOptions: {envFile: b}\n"
        "licenseTests: [{files: [/f]}]\n",
    )
    config = read_config(path)
    assert config.container_run_options == RunOptions(user="app", env_file="b")
    assert config.license_tests == (LicenseTest(files=("/f",)),)


def test_json_is_read_in_any_case_of_letters_as_upstream_does(tmp_path: Path) -> None:
    # The spelling of upstream's own reports, and the least likely one.
    for fields in (
        ("SchemaVersion", "FileExistenceTests", "ShouldExist"),
        ("schemaversion", "FILEEXISTENCETESTS", "shouldexist"),
        ("\u017fchemaVersion", "fileExi\u017ftenceTests", "shouldExist"),
    ):
        version, tests, exists = fields
        value = {version: "2.0.0", tests: [{"name": "n", "path": "/not-found", exists: False}]}
        path = written(tmp_path, json.dumps(value), "x.json")
        assert judge(path).errors == ()
        (test,) = read_config(path).file_existence_tests
        assert (test.name, test.should_exist) == ("n", False)


REFUSED = [
    ("colour: red", "line 2: unknown field 'colour'; known are: commandTests, "),
    (
        "commandTests: [{name: n, command: c, x: 1}]",
        "line 2: commandTests[0]: unknown field 'x'; known are: args, ",
    ),
    ("metadataTest: {env: []}", "line 2: metadataTest: unknown field 'env'; known are: cmd, "),
    (
        "commandTests: []\ncommandTests: []",
        "the mapping at line 1 has the field 'commandTests' twice",
    ),
    (
        "licenseTests:\n- {<<: text}",
        "line 3: '<<' wants a mapping or a list of mappings",
    ),
    ("licenseTests:\n- {<<: [[]]}", "line 3: '<<' wants a mapping or a list of mappings"),
    ("licenseTests:\n- {<<: ~}", "line 3: '<<' wants a mapping or a list of mappings"),
    ("licenseTests:\n- {'<<': {debian: true}}", "line 3: licenseTests[0]: unknown field '<<'"),
    ("licenseTests:\n- &a {<<: *a}", "line 3: an alias refers to what it is part of"),
    (
        "licenseTests:\n- {<<: {colour: red}}",
        "line 3: licenseTests[0]: unknown field 'colour'",
    ),
    (
        "licenseTests:\n- {<<: {files: []}, debian: true, debian: true}",
        "the mapping at line 3 has the field 'debian' twice",
    ),
    ("commandTests: {name: n}", "line 2: commandTests: wanted a list, found {'name': 'n'}"),
    ("metadataTest: []", "line 2: metadataTest: wanted a mapping, found []"),
    ("metadataTest: {user: [a]}", "line 2: metadataTest: user: wanted a string, found ['a']"),
    (
        "commandTests: [{name: n, command: c, exitCode: '3'}]",
        "line 2: commandTests[0]: exitCode: wanted a whole number, found '3'",
    ),
    (
        "fileExistenceTests: [{name: n, path: /p, shouldExist: 'true'}]",
        "fileExistenceTests[0]: shouldExist: wanted true or false, found 'true'",
    ),
    (
        "fileExistenceTests: [{name: n, path: /p, uid: root}]",
        "fileExistenceTests[0]: uid: wanted a whole number, found 'root'",
    ),
    ("fileExistenceTests: [{name: n, path: ~}]", "fileExistenceTests[0]: path: is missing"),
    ("fileContentTests: [{path: /p}]", "fileContentTests[0]: name: is missing"),
    ("commandTests: [{name: n}]", "commandTests[0]: command: is missing"),
    (
        "commandTests: [{name: n, command: c, envVars: [{key: k}]}]",
        "commandTests[0]: envVars[0]: value: is missing",
    ),
]


@pytest.mark.parametrize(("text", "cause"), REFUSED)
def test_the_build_and_the_runner_refuse_what_upstream_does(
    tmp_path: Path, text: str, cause: str
) -> None:
    path = written(tmp_path, f"schemaVersion: 2.0.0\n{text}\n")
    (error,) = judge(path).errors
    assert str(path) in error
    assert cause in error
    with pytest.raises(ConfigError):
        read_config(path)


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("x.yaml", "a: [", "cannot be read: "),
        ("x.yaml", "- a", "wanted a mapping, found ['a']"),
        ("x.yaml", "licenseTests: []", "schemaVersion is missing; write schemaVersion: 2.0.0"),
        ("x.yaml", "schemaVersion: 1.0.0", "is not supported, write 2.0.0 (in 2.0.0 a command is"),
        ("x.yaml", "schemaVersion: '3'", "schemaVersion '3' is not supported"),
        ("x.json", "{", "cannot be read: "),
        ("x.json", "[]", "wanted a mapping, found []"),
        ("x.json", '{"schemaVersion": 2}', "schemaVersion: wanted a string, found 2"),
        ("x.toml", "", "is not named .yaml, .yml or .json"),
    ],
)
def test_an_unreadable_file_is_named_in_the_error(
    tmp_path: Path, name: str, text: str, cause: str
) -> None:
    path = written(tmp_path, text, name)
    (error,) = judge(path).errors
    assert error.startswith(str(path))
    assert cause in error


def test_json_that_upstream_reads_differently_is_a_warning(tmp_path: Path) -> None:
    value = {
        "schemaVersion": "2.0.0",
        "fileExistenceTests": [{"name": "n", "path": "/p", "uid": 0}],
        "containerRunOptions": {"allocateTty": True},
    }
    path = written(tmp_path, json.dumps(value), "x.json")
    assert judge(path).errors == ()
    assert judge(path).warnings == (
        f"{path}: fileExistenceTests[0]: shouldExist is not given, and false to upstream",
        f"{path}: fileExistenceTests[0]: gid is not given, and 0 to upstream",
        f"{path}: containerRunOptions: upstream ignores 'allocateTty'",
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"schema_version": "2.0.0"}, "schemaVersion is missing"),
        (
            {"schemaVersion": "2.0.0", "fileContentTests": [{"sticky": True}]},
            "fileContentTests[0]: unknown field 'sticky'",
        ),
        (
            {"schemaVersion": "2.0.0", "fileContentTests": [{"name": "n", "Name": "m"}]},
            "a mapping has the field 'name' twice",
        ),
        (
            {"schemaVersion": "2.0.0", "SchemaVersion": "2.0.0"},
            "a mapping has the field 'schemaVersion' twice",
        ),
    ],
)
def test_names_that_only_upstreams_json_tolerates_are_refused(
    tmp_path: Path, value: dict[str, Any], problem: str
) -> None:
    path = written(tmp_path, json.dumps(value), "x.json")
    (error,) = judge(path).errors
    assert problem in error


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("licenseTests: [{debian: y}]", "debian: wanted true or false, found 'y'"),
        ("licenseTests: [{debian: yEs}]", "debian: wanted true or false, found 'yEs'"),
        ("licenseTests: [{files: [!!binary aGVsbG8=]}]", "files[0]: wanted a string, found"),
        ("metadataTest: {user: !!binary 'aGVsbG8='}", "user: wanted a string, found"),
        (
            "commandTests: [{name: n, command: c, exitCode: !!str 3}]",
            "exitCode: wanted a whole number, found '3'",
        ),
    ],
)
def test_the_build_refuses_what_only_our_runner_would_read(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = written(tmp_path, f"schemaVersion: 2.0.0\n{text}\n")
    read_config(path)
    (error,) = judge(path).errors
    assert problem in error


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
    assert f"container_structure_test: {bad}: line 2: unknown field 'x'" in capsys.readouterr().err
    assert not output.exists()
    assert main(["--config", str(good), "--output", str(output)]) == 0
    assert output.read_text() == f"{good}\n"
