"""Reading configurations: every field, every default, and nothing that is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.structure_test.configs_for_test import FULL, IMAGE, REFUSED
from tools.structure_test.fields import ConfigError
from tools.structure_test.image_schema import (
    EntrypointTest,
    HealthcheckTest,
    Invariants,
    Request,
    read_image_config,
)
from tools.structure_test.schema import (
    CommandTest,
    Config,
    Expectation,
    FileContentTest,
    FileExistenceTest,
    LicenseTest,
    MetadataTest,
    RunOptions,
    Variable,
    read_config,
)


def written(tmp_path: Path, value: object, suffix: str) -> Path:
    path = tmp_path / f"config{suffix}"
    path.write_text(json.dumps(value) if suffix == ".json" else yaml.safe_dump(value))
    return path


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_every_field_is_read_alike_in_yaml_and_json(tmp_path: Path, suffix: str) -> None:
    assert read_config(written(tmp_path, FULL, suffix)) == Config(
        schema_version="2.0.0",
        global_env_vars=(Variable(key="G", value="g"),),
        command_tests=(
            CommandTest(
                name="n",
                command="c",
                args=("a", "b"),
                setup=(("s", "1"), ("t",)),
                teardown=(("u",),),
                env_vars=(Variable(key="E", value="e"),),
                expected_output=("o",),
                excluded_output=("p",),
                expected_error=("q",),
                excluded_error=("r",),
                exit_code=3,
            ),
            CommandTest(name="least", command="c"),
        ),
        file_content_tests=(
            FileContentTest(
                name="n", path="/p", expected_contents=("x",), excluded_contents=("y",)
            ),
        ),
        file_existence_tests=(
            FileExistenceTest(
                name="n",
                path="/p",
                should_exist=False,
                permissions="-rw-r--r--",
                uid=0,
                gid=5,
                is_executable_by="group",
            ),
            FileExistenceTest(name="least", path="/q"),
        ),
        license_tests=(LicenseTest(debian=True, files=("/f",)),),
        metadata_test=MetadataTest(
            env_vars=(
                Expectation(key="k", value="v.*", is_regex=True),
                Expectation(key="e", value=""),
            ),
            unbound_env_vars=(Expectation(key="u"),),
            labels=(Expectation(key="l", value="w"),),
            exposed_ports=("80",),
            unexposed_ports=("81",),
            volumes=("/v",),
            unmounted_volumes=("/w",),
            entrypoint=(),
            cmd=("x",),
            workdir="/d",
            user="me",
        ),
        container_run_options=RunOptions(
            user="root",
            privileged=True,
            allocate_tty=True,
            env_file="env",
            env_vars=("HOST",),
            capabilities=("NET_ADMIN",),
            bind_mounts=("/a:/b",),
        ),
    )


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    value = {
        "schemaVersion": "2.0.0",
        "commandTests": [{"name": "n", "command": "c"}],
        "fileExistenceTests": [{"name": "n", "path": "/p"}],
        "metadataTest": {},
    }
    config = read_config(written(tmp_path, value, ".yaml"))
    (command,) = config.command_tests
    lists = [command.args, command.setup, command.teardown, command.env_vars]
    lists += [command.expected_output, command.excluded_output]
    lists += [command.expected_error, command.excluded_error]
    assert lists == [()] * 8
    assert command.exit_code == 0
    (file,) = config.file_existence_tests
    assert (file.should_exist, file.permissions, file.uid, file.gid) == (True, "", -1, -1)
    assert file.is_executable_by == ""
    assert config.container_run_options == RunOptions()
    assert config.metadata_test == MetadataTest()
    assert (MetadataTest().entrypoint, MetadataTest().cmd) == (None, None)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_null_is_gos_zero_value_where_the_default_is_another(tmp_path: Path, suffix: str) -> None:
    test = {"name": "n", "path": "/p", "shouldExist": None, "uid": None, "gid": None}
    value = {"schemaVersion": "2.0.0", "fileExistenceTests": [test]}
    (found,) = read_config(written(tmp_path, value, suffix)).file_existence_tests
    assert (found.should_exist, found.uid, found.gid) == (False, 0, 0)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_null_means_left_out_except_for_an_entrypoint(tmp_path: Path, suffix: str) -> None:
    value = {
        "schemaVersion": "2.0.0",
        "commandTests": None,
        "fileContentTests": [{"name": "n", "path": "/p", "expectedContents": None}],
        "metadataTest": {"user": None, "entrypoint": None, "cmd": None},
        "containerRunOptions": None,
    }
    assert read_config(written(tmp_path, value, suffix)) == Config(
        schema_version="2.0.0",
        file_content_tests=(FileContentTest(name="n", path="/p"),),
        metadata_test=MetadataTest(entrypoint=(), cmd=()),
    )


def test_a_scalar_in_a_string_field_keeps_its_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    variables = "[{key: A, value: 1.10}, {key: B, value: yes}, {key: C, value: 2001-01-01}]"
    path.write_text(f"schemaVersion: 2.0.0\nglobalEnvVars: {variables}")
    found = {item.key: item.value for item in read_config(path).global_env_vars}
    assert found == {"A": "1.10", "B": "yes", "C": "2001-01-01"}
    assert {type(value) for value in found.values()} == {str}


@pytest.mark.parametrize("word", ["true", "True", "yes", "ON", "y", "false", "no", "Off", "n"])
def test_every_word_of_yaml_is_a_truth_value(tmp_path: Path, word: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"schemaVersion: 2.0.0\nlicenseTests: [{{debian: {word}}}]")
    expected = word.lower() in {"true", "yes", "on", "y"}
    assert read_config(path).license_tests[0].debian is expected
    path.write_text(f"schemaVersion: 2.0.0\nlicenseTests: [{{debian: '{word}'}}]")
    with pytest.raises(ConfigError, match=f"debian: wanted true or false, found '{word}'"):
        read_config(path)


def test_every_problem_of_a_file_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "schemaVersion: 2.0.0\n"
        "commandTests:\n"
        "  - name: good\n"
        "    command: c\n"
        "  - name: n\n"
        "    exitCode: one\n"
        "    setup:\n"
        "      - [ls, [nested]]\n"
        "fileContentTests:\n"
        "  - name: n\n"
        "    path: /p\n"
        "    contents: [x]\n"
        "metadataTest: me\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    contents = "excludedContents, expectedContents, name, path"
    assert caught.value.problems == (
        f"{path}: line 5: commandTests[1]: command: is missing",
        f"{path}: line 6: commandTests[1]: exitCode: wanted a whole number, found 'one'",
        f"{path}: line 8: commandTests[1]: setup[0][1]: wanted a string, found ['nested']",
        f"{path}: line 12: fileContentTests[0]: unknown field 'contents'; known are: {contents}",
        f"{path}: line 13: metadataTest: wanted a mapping, found 'me'",
    )


def test_python_names_of_fields_are_unknown_in_files(tmp_path: Path) -> None:
    test = {"name": "n", "command": "c", "exit_code": 1}
    for suffix in (".yaml", ".json"):
        path = written(tmp_path, {"schemaVersion": "2.0.0", "commandTests": [test]}, suffix)
        with pytest.raises(ConfigError, match="unknown field 'exit_code'"):
            read_config(path)


def test_yaml_aliases_are_followed_and_cycles_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "schemaVersion: 2.0.0\n"
        "fileContentTests:\n"
        "  - {name: a, path: /a, expectedContents: &same [x]}\n"
        "  - {name: b, path: /b, expectedContents: *same}\n"
    )
    assert [test.expected_contents for test in read_config(path).file_content_tests] == [
        ("x",),
        ("x",),
    ]
    # An anchor that is given again names the new value from there on.
    path.write_text(
        "schemaVersion: 2.0.0\n"
        "fileContentTests:\n"
        "  - {name: &it a, path: *it}\n"
        "  - {name: &it b, path: *it}\n"
    )
    tests = read_config(path).file_content_tests
    assert [(test.name, test.path) for test in tests] == [("a", "a"), ("b", "b")]
    path.write_text("schemaVersion: 2.0.0\ncommandTests: &all [*all]\n")
    with pytest.raises(ConfigError, match="line 2: an alias refers to what it is part of"):
        read_config(path)


def test_a_long_value_is_quoted_in_part(tmp_path: Path) -> None:
    value = {"schemaVersion": "2.0.0", "commandTests": "x" * 10_000}
    with pytest.raises(ConfigError, match="commandTests: wanted a list, found 'xxx") as caught:
        read_config(written(tmp_path, value, ".json"))
    assert len(str(caught.value)) < 500


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


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize(("change", "cause"), REFUSED)
def test_an_invalid_value_is_an_error_that_names_file_and_field(
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
def test_an_invalid_file_is_named_in_the_error(
    tmp_path: Path, name: str, text: str | None, cause: str
) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert cause in str(caught.value)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_every_field_of_our_own_schema_is_read(tmp_path: Path, suffix: str) -> None:
    config = read_image_config(written(tmp_path, IMAGE, suffix))
    start: dict[str, Any] = {
        "env": {"A": "b"},
        "command": ("c",),
        "user": "1:2",
        "read_only_root": True,
        "writable": ("/data",),
    }
    assert config.healthcheck_tests == (
        HealthcheckTest(name="h", expect="healthy", within=120.0, interval=None),
        HealthcheckTest(name="broken", expect="unhealthy", within=5.0, interval=0.5, **start),
    )
    assert config.entrypoint_tests == (
        EntrypointTest(
            name="e",
            wait_for_port=80,
            wait_for_log="up",
            within=9.0,
            requests=(
                Request(path="/", status=404, body=("x",)),
                Request(path="/h", status=200, body=()),
            ),
            signal="SIGINT",
            grace=2.0,
            exit_codes=(0, 130),
            **start,
        ),
    )
    assert config.invariants == Invariants(
        no_set_id=True,
        world_writable=("/tmp",),
        uids=(0,),
        gids=(0, 42),
        forbidden=("**/*.pyc",),
        max_bytes=10,
        max_layers=3,
        read_only_root=True,
        arbitrary_uid=12345,
        writable=("/data",),
    )


def test_restrictions_run_the_images_own_healthcheck() -> None:
    both = Invariants(read_only_root=True, arbitrary_uid=12345, writable=("/data",))
    assert both.restricted == (
        HealthcheckTest(
            name="works with a read-only root",
            interval=0.5,
            read_only_root=True,
            writable=("/data",),
        ),
        HealthcheckTest(
            name="works as user 12345", interval=0.5, user="12345:0", writable=("/data",)
        ),
    )
    assert Invariants().restricted == ()


def test_what_is_left_out_of_our_own_schema_is_unchecked(tmp_path: Path) -> None:
    value = {"schemaVersion": "image_test/1", "invariants": {}}
    assert read_image_config(written(tmp_path, value, ".yaml")).invariants == Invariants()
    unchecked = (Invariants().world_writable, Invariants().uids, Invariants().max_bytes)
    assert unchecked == (None, None, None)
    test = {"name": "n", "waitForLog": "up", "exitCodes": []}
    other = {"schemaVersion": "image_test/1", "entrypointTests": [test]}
    (found,) = read_image_config(written(tmp_path, other, ".yaml")).entrypoint_tests
    assert (found.within, found.grace, found.exit_codes) == (120.0, 10.0, (0,))


def test_an_empty_invariant_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("schemaVersion: image_test/1\ninvariants: {worldWritable: , maxBytes: ~}\n")
    found = read_image_config(path).invariants
    assert found is not None
    assert (found.world_writable, found.max_bytes, found.uids) == ((), 0, None)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"schemaVersion": "2.0.0"}, "schemaVersion: wanted image_test/1, found '2.0.0'"),
        ({"commandTests": []}, "unknown field 'commandTests'"),
        (
            {"healthcheckTests": [{"name": "n", "expect": "dead"}]},
            "expect: wanted 'healthy' or 'unhealthy', found 'dead'",
        ),
        (
            {"healthcheckTests": [{"name": "n", "within": -1}]},
            "within: wanted a number of at least 0",
        ),
        ({"healthcheckTests": [{"name": "n", "env": ["A"]}]}, "env: wanted a mapping, found ['A']"),
        (
            {"entrypointTests": [{"name": "n"}]},
            "entrypointTests[0]: waitForPort: set it or waitForLog",
        ),
        (
            {"entrypointTests": [{"name": "n", "waitForLog": "x", "requests": [{"path": "/"}]}]},
            "requests: need waitForPort",
        ),
        (
            {"entrypointTests": [{"name": "n", "waitForPort": 1, "signal": "HALT"}]},
            "signal: 'HALT' is not a signal; write a name such as 'SIGTERM' or 'SIGRTMIN+3', or",
        ),
        ({"invariants": {"uids": ["root"]}}, "uids[0]: wanted a whole number, found 'root'"),
        ({"invariants": {"arbitraryUid": 0}}, "arbitraryUid: wanted a user that is not root"),
        ({"invariants": {"arbitraryUid": None}}, "arbitraryUid: wanted a user that is not root"),
        ({"healthcheckTests": [{"name": "n", "env": {"A": []}}]}, "env: A: wanted a string"),
        ({"healthcheckTests": [{"name": "n", "within": "5s"}]}, "within: wanted a number of at"),
        ({"invariants": {"writable": ["/d"]}}, "writable: needs readOnlyRoot or arbitraryUid"),
        (
            {"healthcheckTests": [{"name": "n", "writable": ["data"]}]},
            "writable[0]: wanted an absolute path, found 'data'",
        ),
    ],
)
def test_an_invalid_value_of_our_own_schema_is_an_error(
    tmp_path: Path, change: dict[str, Any], cause: str
) -> None:
    path = written(tmp_path, {"schemaVersion": "image_test/1", **change}, ".yaml")
    with pytest.raises(ConfigError) as caught:
        read_image_config(path)
    assert cause in str(caught.value)
