"""Reading configurations: every field, every default, and nothing that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.structure_test.fields import ConfigError
from tools.structure_test.image_schema import (
    EntrypointTest,
    HealthcheckTest,
    Invariants,
    Request,
    Start,
    read_image_config,
)
from tools.structure_test.schema import (
    CommandTest,
    Config,
    FileContentTest,
    FileExistenceTest,
    LicenseTest,
    MetadataTest,
    RunOptions,
    Variable,
    read_config,
)

FULL: dict[str, Any] = {
    "schemaVersion": "2.0.0",
    "globalEnvVars": [{"key": "G", "value": "g"}],
    "commandTests": [
        {
            "name": "n",
            "command": "c",
            "args": ["a", "b"],
            "setup": [["s", "1"], ["t"]],
            "teardown": [["u"]],
            "envVars": [{"key": "E", "value": "e"}],
            "expectedOutput": ["o"],
            "excludedOutput": ["p"],
            "expectedError": ["q"],
            "excludedError": ["r"],
            "exitCode": 3,
        },
        {"name": "least", "command": "c"},
    ],
    "fileContentTests": [
        {"name": "n", "path": "/p", "expectedContents": ["x"], "excludedContents": ["y"]}
    ],
    "fileExistenceTests": [
        {
            "name": "n",
            "path": "/p",
            "shouldExist": False,
            "permissions": "-rw-r--r--",
            "uid": 0,
            "gid": 5,
            "isExecutableBy": "group",
        },
        {"name": "least", "path": "/q"},
    ],
    "licenseTests": [{"debian": True, "files": ["/f"]}],
    "metadataTest": {
        "envVars": [{"key": "k", "value": "v.*", "isRegex": True}, {"key": "e", "value": ""}],
        "unboundEnvVars": [{"key": "u"}],
        "labels": [{"key": "l", "value": "w"}],
        "exposedPorts": ["80"],
        "unexposedPorts": ["81"],
        "volumes": ["/v"],
        "unmountedVolumes": ["/w"],
        "entrypoint": [],
        "cmd": ["x"],
        "workdir": "/d",
        "user": "me",
    },
    "containerRunOptions": {
        "user": "root",
        "envFile": "env",
        "envVars": ["HOST"],
        "bindMounts": ["/a:/b"],
        "privileged": True,
        "allocateTty": True,
        "capabilities": ["NET_ADMIN"],
    },
}


def written(tmp_path: Path, value: object, suffix: str) -> Path:
    path = tmp_path / f"config{suffix}"
    path.write_text(json.dumps(value) if suffix == ".json" else yaml.safe_dump(value))
    return path


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_every_field_is_read_alike_in_yaml_and_json(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, FULL, suffix)
    assert read_config(path) == Config(
        source=str(path),
        global_env=(Variable("G", "g"),),
        commands=(
            CommandTest(
                "n", "c", ("a", "b"), (("s", "1"), ("t",)), (("u",),), (Variable("E", "e"),),
                ("o",), ("p",), ("q",), ("r",), 3,
            ),
            CommandTest("least", "c", (), (), (), (), (), (), (), (), 0),
        ),
        contents=(FileContentTest("n", "/p", ("x",), ("y",)),),
        existences=(
            FileExistenceTest("n", "/p", False, "-rw-r--r--", 0, 5, "group"),
            FileExistenceTest("least", "/q", True, "", -1, -1, ""),
        ),
        licenses=(LicenseTest(True, ("/f",)),),
        metadata=MetadataTest(
            (Variable("k", "v.*", True), Variable("e", "")), ("u",), (Variable("l", "w"),),
            ("80",), ("81",), ("/v",), ("/w",), (), ("x",), "/d", "me",
        ),
        options=RunOptions("root", True, True, "env", ("HOST",), ("NET_ADMIN",), ("/a:/b",)),
    )  # fmt: skip


def test_an_entrypoint_that_is_not_mentioned_is_unchecked(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, {"schemaVersion": "2.0.0", "metadataTest": {}}, ".yaml"))
    assert config.metadata is not None
    assert (config.metadata.entrypoint, config.metadata.cmd) == (None, None)


def test_a_scalar_in_a_string_field_keeps_its_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    variables = "[{key: A, value: 1.10}, {key: B, value: yes}]"
    path.write_text(f"schemaVersion: 2.0.0\nglobalEnvVars: {variables}")
    assert read_config(path).global_env == (Variable("A", "1.10"), Variable("B", "yes"))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("exitCode: '3'", "exitCode: wanted a whole number, found '3'"),
        ("exitCode: 010", "exitCode: wanted a whole number, found '010'"),
        ("exitCode: 0x1f", "exitCode: wanted a whole number, found '0x1f'"),
    ],
)
def test_a_number_is_decimal_and_not_quoted(tmp_path: Path, text: str, cause: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"schemaVersion: 2.0.0\ncommandTests: [{{name: n, command: c, {text}}}]")
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert cause in str(caught.value)


CASES: list[tuple[dict[str, Any], str]] = [
    ({"schemaVersion": None}, "schemaVersion"),
    ({"schemaVersion": "1.0.0"}, "schemaVersion '1.0.0' is not supported, write 2.0.0"),
    ({"schemaVersion": "3"}, "(there is no other)"),
    ({"colour": "red"}, "unknown field 'colour'; known are: commandTests, "),
    ({"commandTests": [{"name": "n"}]}, "commandTests[0]: command: is missing"),
    ({"commandTests": [{"command": "c"}]}, "commandTests[0]: name: is missing"),
    (
        {"commandTests": [{"name": "n", "command": "c", "x": 1}]},
        "commandTests[0]: unknown field 'x'",
    ),
    ({"commandTests": {"name": "n"}}, "commandTests: wanted a list, found {'name': 'n'}"),
    ({"commandTests": ["c"]}, "commandTests[0]: wanted a mapping, found 'c'"),
    (
        {"commandTests": [{"name": "n", "command": "c", "exitCode": "one"}]},
        "exitCode: wanted a whole number, found 'one'",
    ),
    (
        {"commandTests": [{"name": "n", "command": "c", "args": "a b"}]},
        "args: wanted a list, found 'a b'",
    ),
    (
        {"commandTests": [{"name": "n", "command": "c", "args": [["a"]]}]},
        "args: wanted strings, found ['a']",
    ),
    ({"globalEnvVars": [{"key": "", "value": "v"}]}, "globalEnvVars[0]: key: is empty"),
    ({"globalEnvVars": [{"key": "k", "value": ""}]}, "globalEnvVars[0]: value: is empty"),
    ({"fileExistenceTests": [{"name": "n", "path": ""}]}, "path: is empty"),
    (
        {"fileExistenceTests": [{"name": "n", "path": "/p", "isExecutableBy": "me"}]},
        "isExecutableBy: wanted one of owner, group, other, any, found 'me'",
    ),
    (
        {"fileExistenceTests": [{"name": "n", "path": "/p", "shouldExist": "perhaps"}]},
        "shouldExist: wanted true or false, found 'perhaps'",
    ),
    ({"metadataTest": {"env": []}}, "metadataTest: unknown field 'env'"),
    ({"metadataTest": []}, "metadataTest: wanted a mapping, found []"),
    ({"metadataTest": {"user": ["me"]}}, "user: wanted a string, found ['me']"),
    ({"containerRunOptions": {"privileged": "perhaps"}}, "privileged: wanted true or false"),
    ({"containerRunOptions": {"tty": True}}, "containerRunOptions: unknown field 'tty'"),
    ({"containerRunOptions": {"capabilities": "ALL"}}, "capabilities: wanted a list"),
]


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize(("change", "cause"), CASES)
def test_what_the_schema_does_not_allow_is_an_error_that_names_the_place(
    tmp_path: Path, suffix: str, change: dict[str, Any], cause: str
) -> None:
    value = {"schemaVersion": "2.0.0", **change}
    path = written(tmp_path, {k: v for k, v in value.items() if v is not None}, suffix)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value).startswith(str(path))
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "cause"),
    [
        ("x.yaml", "a: [", "cannot be read"),
        ("x.json", "{", "cannot be read"),
        ("x.yaml", "a: 1\na: 2\n", "has the field 'a' twice"),
        ("x.json", '{"a": 1, "a": 2}', "has the field 'a' twice"),
        ("x.yaml", "- a\n", "wanted a mapping"),
        ("x.yaml", "", "wanted a mapping"),
        ("x.toml", "", "is not named .yaml, .yml or .json"),
        ("x.yaml", None, "No such file"),
    ],
)
def test_files_that_are_broken_are_named(
    tmp_path: Path, name: str, text: str | None, cause: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert cause in str(caught.value)


IMAGE: dict[str, Any] = {
    "schemaVersion": "image_test/1",
    "healthcheckTests": [
        {"name": "h"},
        {
            "name": "broken",
            "expect": "unhealthy",
            "within": 5,
            "interval": 0.5,
            "env": {"A": "b"},
            "command": ["c"],
            "user": "1:2",
            "readOnlyRoot": True,
            "writable": ["/data"],
        },
    ],
    "entrypointTests": [
        {
            "name": "e",
            "waitForPort": 80,
            "waitForLog": "up",
            "within": 9,
            "requests": [{"path": "/", "status": 404, "body": ["x"]}, {"path": "/h"}],
            "signal": "SIGINT",
            "grace": 2,
            "exitCodes": [0, 130],
            "env": {"A": "b"},
            "command": ["c"],
            "user": "1:2",
            "readOnlyRoot": True,
            "writable": ["/data"],
        }
    ],
    "invariants": {
        "noSetId": True,
        "worldWritable": ["/tmp"],
        "uids": [0],
        "gids": [0, 42],
        "forbidden": ["**/*.pyc"],
        "maxBytes": 10,
        "maxLayers": 3,
        "readOnlyRoot": True,
        "arbitraryUid": 12345,
        "writable": ["/data"],
    },
}


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_every_field_of_our_own_schema_is_read(tmp_path: Path, suffix: str) -> None:
    config = read_image_config(written(tmp_path, IMAGE, suffix))
    start = Start({"A": "b"}, ("c",), "1:2", True, ("/data",))
    assert config.healthchecks == (
        HealthcheckTest("h", "healthy", 120.0, None, Start()),
        HealthcheckTest("broken", "unhealthy", 5.0, 0.5, start),
    )
    requests = (Request("/", 404, ("x",)), Request("/h", 200, ()))
    assert config.entrypoints == (
        EntrypointTest("e", 80, "up", 9.0, requests, "SIGINT", 2.0, (0, 130), start),
    )
    restricted = (
        HealthcheckTest(
            "works with a read-only root", "healthy", 120.0, 0.5,
            Start(read_only_root=True, writable=("/data",)),
        ),
        HealthcheckTest(
            "works as user 12345", "healthy", 120.0, 0.5,
            Start(user="12345:0", writable=("/data",)),
        ),
    )  # fmt: skip
    assert config.invariants == Invariants(
        True, ("/tmp",), (0,), (0, 42), ("**/*.pyc",), 10, 3, restricted
    )


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"schemaVersion": "2.0.0"}, "schemaVersion: wanted image_test/1, found '2.0.0'"),
        ({"commandTests": []}, "unknown field 'commandTests'"),
        (
            {"healthcheckTests": [{"name": "n", "expect": "dead"}]},
            "expect: wanted healthy or unhealthy, found 'dead'",
        ),
        (
            {"healthcheckTests": [{"name": "n", "within": -1}]},
            "within: wanted a number of at least 0",
        ),
        ({"healthcheckTests": [{"name": "n", "env": ["A"]}]}, "env: wanted a mapping of strings"),
        ({"entrypointTests": [{"name": "n"}]}, "waitForPort: give it or waitForLog"),
        (
            {"entrypointTests": [{"name": "n", "waitForLog": "x", "requests": [{"path": "/"}]}]},
            "requests: need waitForPort",
        ),
        (
            {"entrypointTests": [{"name": "n", "waitForPort": 1, "signal": "TERM"}]},
            "signal: wanted a name like SIGTERM, found 'TERM'",
        ),
        ({"invariants": {"uids": ["root"]}}, "uids: wanted a list of whole numbers"),
        ({"invariants": {"arbitraryUid": 0}}, "arbitraryUid: wanted a user that is not root"),
        ({"invariants": {"writable": ["/d"]}}, "writable: needs readOnlyRoot or arbitraryUid"),
        (
            {"healthcheckTests": [{"name": "n", "writable": ["data"]}]},
            "writable: wanted absolute paths, found 'data'",
        ),
    ],
)
def test_what_our_own_schema_does_not_allow_is_an_error(
    tmp_path: Path, change: dict[str, Any], cause: str
) -> None:
    path = written(tmp_path, {"schemaVersion": "image_test/1", **change}, ".yaml")
    with pytest.raises(ConfigError) as caught:
        read_image_config(path)
    assert cause in str(caught.value)
