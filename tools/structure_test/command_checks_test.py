"""Every field of commandTests and containerRunOptions, kept and broken, with its message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.image.images_for_test import program_layer, write_image
from tools.structure_test.image_for_test import Run, command

COMMANDS: list[tuple[dict[str, Any], list[str]]] = [
    (command("true"), []),
    (command("exit 3", exitCode=3), []),
    (command("exit 3"), ["exit code: expected 0, found 3"]),
    (command("true", exitCode=1), ["exit code: expected 1, found 0"]),
    (command("echo hello", expectedOutput=["^hel+o\n$"]), []),
    (
        command("echo hello", expectedOutput=["h", "bye"]),
        ["stdout does not match the expected pattern 'bye'; it is 'hello\\n'"],
    ),
    (command("echo hello", excludedOutput=["bye"]), []),
    (
        command("echo hello", excludedOutput=["l"]),
        ["stdout matches the excluded pattern 'l'; it is 'hello\\n'"],
    ),
    (command("echo hello >&2", expectedError=["hello"], excludedOutput=["."]), []),
    (
        command("echo hello", expectedError=["hello"]),
        ["stderr does not match the expected pattern 'hello'; it is ''"],
    ),
    (command("echo hello >&2", excludedError=["bye"]), []),
    (
        command("echo hello >&2", excludedError=["hello"]),
        ["stderr matches the excluded pattern 'hello'; it is 'hello\\n'"],
    ),
    (command("cat /tmp/a", setup=[["sh", "-c", "echo b > /tmp/a"]], expectedOutput=["b"]), []),
    (
        command("true", setup=[["sh", "-c", "echo why >&2; exit 4"]]),
        ["setup ['sh', '-c', 'echo why >&2; exit 4']: exit code 4: 'why\\n'"],
    ),
    (
        command("true", setup=[["nothing"]]),
        ["setup ['nothing']: exec: 'nothing': not found in the image's $PATH"],
    ),
    (command("touch /tmp/b", teardown=[["ls", "/tmp/b"]]), []),
    (command("true", teardown=[["false"]]), ["teardown ['false']: exit code 1: ''"]),
    # $ in command and args is replaced by the image's environment before anything runs.
    (command("echo ${NAME}-$MISSING-", expectedOutput=["^world--\n$"]), []),
    (command("env", envVars=[{"key": "A", "value": "$NAME"}], expectedOutput=["A=\\$NAME"]), []),
    (
        {**command("env", expectedOutput=["G=hi world"]),
         "globalEnvVars": [{"key": "G", "value": "hi $NAME"}]},
        [],
    ),
    (
        {**command("echo $G", expectedOutput=["^hi world\n$"]),
         "globalEnvVars": [{"key": "G", "value": "hi $NAME"}]},
        [],
    ),
    # The image's entrypoint is not used, its user and working directory are.
    (command("id -un; pwd", expectedOutput=["^app\n/app\n$"]), []),
    (
        {**command("id -u", expectedOutput=["^0\n$"]), "containerRunOptions": {"user": "root"}},
        [],
    ),
    # Output of a terminal is one stream, and its lines end as a terminal's do.
    (
        {
            **command("test -t 1 && echo hello >&2", expectedOutput=["^hello\r\n$"]),
            "containerRunOptions": {"allocateTty": True},
        },
        [],
    ),
    (command("test -t 1"), ["exit code: expected 0, found 1"]),
    # No capability but those that are asked for; CAP_KILL is bit 5 of the set.
    (command("cat /proc/self/status", expectedOutput=["CapEff:\t0{16}\n"]), []),
    (
        {
            **command("cat /proc/self/status", expectedOutput=["CapEff:\t0{14}20\n"]),
            "containerRunOptions": {"capabilities": ["CAP_KILL"]},
        },
        [],
    ),
    (
        {
            **command("cat /proc/self/status", excludedOutput=["CapEff:\t0{16}\n"]),
            "containerRunOptions": {"privileged": True},
        },
        [],
    ),
    (
        {**command("true"), "containerRunOptions": {"user": "nobody"}},
        ["user 'nobody' is not in the image's /etc/passwd"],
    ),
    (
        {"commandTests": [{"name": "t", "command": "nothing", "exitCode": 127}]},
        [],
    ),
    (
        {"commandTests": [{"name": "t", "command": "nothing"}]},
        ["exit code: expected 0, found 127"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "errors"), COMMANDS)
def test_commands(run: Run, config: dict[str, Any], errors: list[str]) -> None:
    assert run(config) == errors


@pytest.mark.parametrize("name", ["SYS_TIME", "NOTHING"])
def test_a_capability_that_cannot_be_granted_is_an_error(run: Run, name: str) -> None:
    (error,) = run({**command("true"), "containerRunOptions": {"capabilities": [name]}})
    assert error.startswith(f"capability {name!r}: ")


def test_a_command_that_never_ends_is_reported(run: Run) -> None:
    errors = run(command("sleep 100"), timeout=0.3)
    assert errors[0] == "the command timed out after 0.3 s and was killed"


@pytest.mark.parametrize("field", ["expectedOutput", "excludedOutput"])
def test_an_invalid_pattern_fails_everywhere(run: Run, field: str) -> None:
    (error,) = run(command("true", **{field: ["("]}))
    assert error.startswith("stdout: the regular expression '(' is invalid")


def test_variables_come_from_the_host_and_from_a_file_beside_those_of_the_test(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "env").write_text("# comment\n\nFILE=1\n")
    config = {
        **command(
            "env",
            envVars=[{"key": "OWN", "value": "3"}],
            expectedOutput=["FILE=1", "HOST=2", "OWN=3"],
            excludedOutput=["ABSENT"],
        ),
        "containerRunOptions": {
            "envFile": str(tmp_path / "env"),
            "envVars": ["HOST", "ABSENT"],
        },
    }
    assert run(config, environ={"HOST": "2"}) == []
    (tmp_path / "env").write_text("A=1\nFILE\n")
    (error,) = run(config)
    assert error.endswith(
        f"envFile {tmp_path / 'env'}, line 2: unexpected character '\\n' in a variable's name"
    )
    (tmp_path / "env").unlink()
    assert run(config)[0].endswith(f"envFile {tmp_path / 'env'}: No such file or directory")


def test_an_env_file_is_read_as_upstream_reads_it(run: Run, tmp_path: Path) -> None:
    lines = ['Q1="double quoted"', "Q2='single $A'", "export EX=exported", "SP = spaced"]
    lines += ["INL=val # comment", 'HASH="a#b"', "EXPAND=${Q1}x", r'NL="a\nb"', "NONE="]
    (tmp_path / "env").write_text("\n".join(lines))
    values = ["Q1=double quoted", "Q2=single [$]A", "EX=exported", "SP=spaced", "INL=val"]
    values += ["HASH=a#b", "EXPAND=double quotedx", "NL=a\nb"]
    config = {
        **command(
            "env", expectedOutput=[f"(?m)^{each}$" for each in values], excludedOutput=["NONE"]
        ),
        "containerRunOptions": {"envFile": str(tmp_path / "env")},
    }
    assert run(config) == []


def test_a_volume_the_image_lacks_exists_as_in_an_engine(run: Run, tmp_path: Path) -> None:
    config = {"Env": ["PATH=/bin"], "Volumes": {"/data": {}}}
    layout = write_image(tmp_path / "layout", [program_layer()], config).path
    for user in ("0:0", "1000:1000"):
        options = {"containerRunOptions": {"user": user}}
        assert run({**command("touch /data/x"), **options}, layout=layout) == []


def test_commands_have_a_hostname(run: Run) -> None:
    assert run(command("env", expectedOutput=["(?m)^HOSTNAME=container$"])) == []


def test_bind_mounts_appear_and_malformed_ones_are_errors(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "in").write_text("given")

    def mounted(*mounts: str) -> dict[str, Any]:
        return {
            **command("cat /opt/d/in", expectedOutput=["given"]),
            "containerRunOptions": {"bindMounts": list(mounts)},
        }

    assert run(mounted(f"{tmp_path}/shared:/opt/d")) == []
    assert run(mounted(f"{tmp_path}/shared:/opt/d:ro")) == []
    (error,) = run(mounted("/opt/d"))
    assert error.endswith("bindMounts: wanted SOURCE:TARGET or SOURCE:TARGET:ro, found '/opt/d'")
    assert run(mounted("/no/such:/opt/d")) == [
        "the mount source '/no/such' does not exist; create it first"
    ]


def test_endless_output_is_cut_off_and_reported(run: Run) -> None:
    errors = run(command("while echo 1234567890123456789012345678901234567890; do :; done"))
    assert errors[0] == "the command exceeded the output limit and was killed"
    assert errors[-1] == "exit code: expected 0, found 137"
