"""Every kind of assertion of the schema, where it passes and where it fails, with its message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.container.cache import Cache
from tools.container.images_for_test import (
    Member,
    directory,
    hard_link,
    link,
    program_layer,
    write_image,
)
from tools.oci.layout import read_layout
from tools.structure_test.suite import How, Selection, read_suite, run_suite

CONFIG: dict[str, Any] = {
    "User": "app",
    "WorkingDir": "/app",
    "Env": ["PATH=/bin", "NAME=world", "EMPTY="],
    "Entrypoint": ["/bin/false"],
    "Cmd": ["sleep", "9"],
    "ExposedPorts": {"8000/tcp": {}},
    "Volumes": {"/app/data": {}},
    "Labels": {"version": "1.2.3"},
}
TEXT = "first line\nsecond line\n"
FILES = [
    directory("opt/d", 0o1777, 5, 6),
    Member("opt/run", b"#!/bin/sh\n", mode=0o750, uid=7, gid=8),
    Member("opt/text", TEXT.encode()),
    link("opt/link", "text"),
    link("opt/far", "/opt/link"),
    link("opt/nowhere", "missing"),
    hard_link("opt/same", "opt/text"),
    Member("usr/share/doc/good/copyright", b"Licence: GPL\n"),
    Member("usr/share/doc/libgnutls30/copyright", b"mentions AGPL\n"),
    link("usr/share/doc/alias", "good"),
]

Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    return write_image(folder / "layout", [program_layer(), FILES], CONFIG).path


@pytest.fixture
def run(image: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    cache = tmp_path_factory.getbasetemp() / "shared-cache"

    def execute(
        config: dict[str, Any],
        *,
        layout: Path = image,
        driver: str = "namespace",
        timeout: float = 30,
        environ: dict[str, str] | None = None,
    ) -> list[str]:
        """Runs a configuration of one test; gives its errors."""
        path = tmp_path / "config.json"
        path.write_text(json.dumps({"schemaVersion": "2.0.0", **config}))
        variables = environ or {}
        suite = read_suite([path], [], timeout=timeout, environ=variables)
        assert not suite.broken
        how = How(driver, variables, cache)
        results = run_suite(layout, suite, Selection(), how)
        assert len(results) == 1
        return list(results[0].errors)

    return execute


def command(script: str, **fields: object) -> dict[str, Any]:
    test = {"name": "t", "command": "sh", "args": ["-c", script], **fields}
    return {"commandTests": [test]}


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
def test_a_capability_that_cannot_be_given_is_an_error(run: Run, name: str) -> None:
    (error,) = run({**command("true"), "containerRunOptions": {"capabilities": [name]}})
    assert error.startswith(f"capability {name!r}: ")


def test_a_command_that_never_ends_is_reported(run: Run) -> None:
    errors = run(command("sleep 100"), timeout=0.3)
    assert errors[0] == "the command did not end within 0.3 s and was killed"


@pytest.mark.parametrize("field", ["expectedOutput", "excludedOutput"])
def test_an_invalid_pattern_fails_whichever_way_it_is_used(run: Run, field: str) -> None:
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
    (tmp_path / "env").write_text("FILE\n")
    assert run(config) == [f"{tmp_path / 'env'}, line 1: is not KEY=VALUE"]
    (tmp_path / "env").unlink()
    assert run(config)[0].endswith(f"envFile {tmp_path / 'env'}: No such file or directory")


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


def existence(path: str, **fields: object) -> dict[str, Any]:
    return {"fileExistenceTests": [{"name": "t", "path": path, **fields}]}


STATIC: list[tuple[dict[str, Any], list[str]]] = [
    (existence("/opt/run"), []),
    (existence("/opt/none"), ["/opt/none must exist, and does not"]),
    (existence("/opt/none", shouldExist=False, permissions="never looked at"), []),
    (existence("/opt/run", shouldExist=False), ["/opt/run must not exist, and does (-rwxr-x---)"]),
    (existence("/opt/run", permissions="-rwxr-x---", uid=7, gid=8), []),
    (existence("/opt/d", permissions="dtrwxrwxrwx", uid=5, gid=6), []),
    (existence("/opt/nowhere", permissions="Lrwxrwxrwx"), []),
    (existence("/$NAME/x", shouldExist=False), []),
    (
        {
            **existence("/$PLACE/run$MISSING"),
            "globalEnvVars": [{"key": "PLACE", "value": "opt"}],
        },
        [],
    ),
    (
        existence("/opt/run", permissions="-rwxr-xr-x"),
        ["/opt/run: permissions: expected -rwxr-xr-x, found -rwxr-x---"],
    ),
    (existence("/opt/run", uid=0), ["/opt/run: uid: expected 0, found 7"]),
    (existence("/opt/run", gid=0), ["/opt/run: gid: expected 0, found 8"]),
    (existence("/opt/run", isExecutableBy="owner"), []),
    (existence("/opt/run", isExecutableBy="group"), []),
    (existence("/opt/run", isExecutableBy="any"), []),
    (
        existence("/opt/run", isExecutableBy="other"),
        ["/opt/run: must be executable by other, and is -rwxr-x---"],
    ),
    (
        existence("/opt/text", isExecutableBy="any"),
        ["/opt/text: must be executable by any, and is -rw-r--r--"],
    ),
]


def content(path: str, **fields: object) -> dict[str, Any]:
    return {"fileContentTests": [{"name": "t", "path": path, **fields}]}


STATIC += [
    (content("/opt/text", expectedContents=["(?s)^first.*second line\n$"]), []),
    (content("/opt/text", excludedContents=["third"]), []),
    (content("/opt/far", expectedContents=["first"]), []),
    (content("/opt/same", expectedContents=["first"]), []),
    (
        content("/opt/text", expectedContents=["third"]),
        [f"content of /opt/text does not match the expected pattern 'third'; it is {TEXT!r}"],
    ),
    (
        content("/opt/text", excludedContents=["first"]),
        [f"content of /opt/text matches the excluded pattern 'first'; it is {TEXT!r}"],
    ),
    (content("/opt/none"), ["/opt/none does not exist in the image"]),
    (content("/opt/nowhere"), ["/opt/nowhere does not exist in the image"]),
    (content("/opt/d"), ["/opt/d is not a regular file but of kind dir"]),
]


def licence(**fields: object) -> dict[str, Any]:
    return {"licenseTests": [fields]}


STATIC += [
    (licence(debian=True), []),
    (licence(files=["/opt/text"]), []),
    (
        licence(files=["/usr/share/doc/libgnutls30/copyright"]),
        ["/usr/share/doc/libgnutls30/copyright names the licence AGPL"],
    ),
    (licence(files=["/opt/none"]), ["/opt/none does not exist in the image"]),
]


def metadata(**fields: object) -> dict[str, Any]:
    return {"metadataTest": fields}


STATIC += [
    (
        metadata(
            envVars=[{"key": "NAME", "value": "world"}, {"key": "EMPTY", "value": ""}],
            labels=[{"key": "version", "value": "^1\\.", "isRegex": True}],
            unboundEnvVars=[{"key": "SECRET"}],
            exposedPorts=["8000"],
            unexposedPorts=["22"],
            volumes=["/app/data"],
            unmountedVolumes=["/var"],
            entrypoint=["/bin/false"],
            cmd=["sleep", "9"],
            workdir="/app",
            user="app",
        ),
        [],
    ),
    (metadata(), []),
    (
        metadata(envVars=[{"key": "NAME", "value": "moon"}]),
        ["environment variable 'NAME': expected 'moon', found 'world'"],
    ),
    (
        metadata(envVars=[{"key": "NONE", "value": "x"}]),
        ["environment variable 'NONE' is not set"],
    ),
    (
        metadata(envVars=[{"key": "NAME", "value": "^m", "isRegex": True}]),
        ["environment variable 'NAME' does not match the expected pattern '^m'; it is 'world'"],
    ),
    (
        metadata(labels=[{"key": "version", "value": "1"}]),
        ["label 'version': expected '1', found '1.2.3'"],
    ),
    (metadata(labels=[{"key": "none", "value": "1"}]), ["label 'none' is not set"]),
    (
        metadata(unboundEnvVars=[{"key": "EMPTY"}]),
        ["environment variable 'EMPTY' must not be set"],
    ),
    (metadata(exposedPorts=["80"]), ["port '80' is missing; there is: 8000"]),
    (metadata(unexposedPorts=["8000"]), ["port '8000' must not be there"]),
    (metadata(volumes=["/x"]), ["volume '/x' is missing; there is: /app/data"]),
    (metadata(unmountedVolumes=["/app/data"]), ["volume '/app/data' must not be there"]),
    (metadata(entrypoint=[]), ["entrypoint: expected [], found ['/bin/false']"]),
    (metadata(cmd=["sleep"]), ["cmd: expected ['sleep'], found ['sleep', '9']"]),
    (metadata(workdir="/"), ["workdir: expected '/', found '/app'"]),
    (metadata(user="root"), ["user: expected 'root', found 'app'"]),
]


@pytest.mark.parametrize("driver", ["namespace", "tar"])
@pytest.mark.parametrize(("config", "errors"), STATIC)
def test_static_checks(run: Run, config: dict[str, Any], errors: list[str], driver: str) -> None:
    assert run(config, driver=driver) == errors


def test_static_checks_beside_commands_read_the_unpacked_files(image: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = {**content("/opt/far", expectedContents=["first"]), **command("true")}
    path.write_text(json.dumps({"schemaVersion": "2.0.0", **config}))
    suite = read_suite([path], [], timeout=30, environ={})
    results = run_suite(image, suite, Selection(), How("namespace", {}, tmp_path / "cache"))
    assert [result.errors for result in results] == [(), ()]


def test_static_checks_use_an_unpacked_image_but_never_unpack_one(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    tests = {**existence("/opt/run", uid=7), **content("/opt/far", expectedContents=["first"])}
    path.write_text(json.dumps({"schemaVersion": "2.0.0", **tests}))
    suite = read_suite([path], [], environ={})
    how = How("namespace", {}, tmp_path / "cache")
    assert all(result.passed for result in run_suite(image, suite, Selection(), how))
    assert not (tmp_path / "cache").exists()
    with Cache(tmp_path / "cache").rootfs(read_layout(image).layers):
        pass
    # Now nothing of the layers is read any more, and commands are refused all the same.
    monkeypatch.setattr("tools.structure_test.subject.read_files", None)
    assert all(result.passed for result in run_suite(image, suite, Selection(), how))
    path.write_text(json.dumps({"schemaVersion": "2.0.0", **command("true")}))
    suite = read_suite([path], [], environ={})
    (result,) = run_suite(image, suite, Selection(), How("tar", {}, tmp_path / "cache"))
    assert result.errors == ("driver 'tar' makes static checks only; leave `driver` out",)


def test_the_tar_driver_refuses_to_run_commands(run: Run) -> None:
    assert run(command("true"), driver="tar") == [
        "driver 'tar' makes static checks only; leave `driver` out"
    ]


def test_forbidden_and_missing_licences_are_found(run: Run, tmp_path: Path) -> None:
    members = [
        Member("usr/share/doc/bad/copyright", b"the wtfpl, version 2"),
        directory("usr/share/doc/silent"),
        Member("usr/share/doc/README"),
    ]
    layout = write_image(tmp_path / "layout", [members], {}).path
    assert run(licence(debian=True), layout=layout) == [
        "/usr/share/doc/bad/copyright names the licence WTFPL",
        "/usr/share/doc/silent/copyright does not exist in the image",
    ]
    empty = write_image(tmp_path / "empty", [[Member("x")]], {}).path
    assert run(licence(debian=True), layout=empty) == [
        "/usr/share/doc holds no package's directory to check"
    ]


def test_an_image_for_another_machine_is_checked_statically_and_its_commands_are_refused(
    run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    (error,) = run(command("true"))
    assert "and this machine is riscv64: its commands need an emulator" in error
    assert run(existence("/opt/run")) == []
