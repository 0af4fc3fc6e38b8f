"""Every kind of static assertion, where it passes and where it fails, with its message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.image.cache import Cache
from tools.image.images_for_test import Member, directory, write_image
from tools.image.layout import read_layout
from tools.structure_test.image_for_test import TEXT, Run, command, existence
from tools.structure_test.suite import RunnerConfig, Selection, read_suite, run_suite

STATIC: list[tuple[dict[str, Any], list[str]]] = [
    (existence("/opt/run"), []),
    (existence("/opt/none"), ["/opt/none must exist, but does not"]),
    (existence("/opt/none", shouldExist=False, permissions="never looked at"), []),
    (existence("/opt/run", shouldExist=False), ["/opt/run must not exist, but does (-rwxr-x---)"]),
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
        existence("/opt/text", isExecutableBy="owner"),
        ["/opt/text: must be executable by owner, but is -rw-r--r--"],
    ),
    (
        existence("/opt/text", isExecutableBy="group"),
        ["/opt/text: must be executable by group, but is -rw-r--r--"],
    ),
    (
        existence("/opt/run", isExecutableBy="other"),
        ["/opt/run: must be executable by other, but is -rwxr-x---"],
    ),
    (
        existence("/opt/text", isExecutableBy="any"),
        ["/opt/text: must be executable by any, but is -rw-r--r--"],
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
    (
        metadata(labels=[{"key": "version", "value": "^2", "isRegex": True}]),
        ["label 'version' does not match the expected pattern '^2'; it is '1.2.3'"],
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
    results = run_suite(
        image, suite, Selection(), RunnerConfig("namespace", {}, tmp_path / "cache")
    )
    assert [result.errors for result in results] == [(), ()]


def test_static_checks_use_an_unpacked_image_but_never_unpack_one(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    tests = {**existence("/opt/run", uid=7), **content("/opt/far", expectedContents=["first"])}
    path.write_text(json.dumps({"schemaVersion": "2.0.0", **tests}))
    suite = read_suite([path], [], environ={})
    runner = RunnerConfig("namespace", {}, tmp_path / "cache")
    assert all(result.passed for result in run_suite(image, suite, Selection(), runner))
    assert not (tmp_path / "cache").exists()
    with Cache(tmp_path / "cache").rootfs(read_layout(image).layers):
        pass
    # Now nothing of the layers is read any more, and commands are refused all the same.
    monkeypatch.setattr("tools.structure_test.image_under_test.read_files", None)
    assert all(result.passed for result in run_suite(image, suite, Selection(), runner))
    path.write_text(json.dumps({"schemaVersion": "2.0.0", **command("true")}))
    suite = read_suite([path], [], environ={})
    (result,) = run_suite(image, suite, Selection(), RunnerConfig("tar", {}, tmp_path / "cache"))
    assert result.errors == ("driver 'tar' runs static checks only; leave `driver` out",)


def test_metadata_is_checked_without_reading_a_layer(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.structure_test.image_under_test.read_files", None)
    layout = write_image(tmp_path / "layout", [[Member("a")]], {"User": "app"}).path
    assert run(metadata(user="app"), layout=layout) == []
    assert run(metadata(user="root"), layout=layout) == ["user: expected 'root', found 'app'"]


def test_the_tar_driver_refuses_to_run_commands(run: Run) -> None:
    assert run(command("true"), driver="tar") == [
        "driver 'tar' runs static checks only; leave `driver` out"
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
        "/usr/share/doc has no package directory to check"
    ]


def test_an_image_for_another_machine_is_checked_statically_and_its_commands_are_refused(
    run: Run, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    (error,) = run(command("true"))
    assert "and this machine is riscv64: its commands need an emulator" in error
    assert run(existence("/opt/run")) == []
