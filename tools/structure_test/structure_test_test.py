"""The runner: exit codes, reports, filter, shards, and files that are broken."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tools.image.archive import docker_archive, write_archive
from tools.image.images_for_test import Member, write_image
from tools.structure_test import checks
from tools.structure_test.checks import Outcome
from tools.structure_test.image_under_test import ImageUnderTest
from tools.structure_test.report import Result, as_json, as_junit, text
from tools.structure_test.schema import FileExistenceTest
from tools.structure_test.structure_test import main, parse_flags

GOOD = {"name": "there", "path": "/a"}
BAD = {"name": "missing", "path": "/b"}


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "TESTBRIDGE_TEST_ONLY", "TEST_TOTAL_SHARDS", "TEST_SHARD_INDEX", "XML_OUTPUT_FILE",
        "TEST_SHARD_STATUS_FILE", "TEST_TARGET", "BUILD_WORKING_DIRECTORY",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    return write_image(tmp_path / "layout", [[Member("a", b"1")]], {}).path


def config(folder: Path, *tests: dict[str, str], name: str = "c.json") -> str:
    path = folder / name
    path.write_text(json.dumps({"schemaVersion": "2.0.0", "fileExistenceTests": tests}))
    return str(path)


def test_success_is_zero_and_the_report_reads_like_upstreams(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--image", str(image), "--config", config(tmp_path, GOOD)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rule = "=" * len("====== Test file: c.json ======")
    assert lines[:4] == ["", rule, "====== Test file: c.json ======", rule]
    assert lines[4:6] == ["=== RUN: File Existence Test: there", "--- PASS"]
    assert lines[6].startswith("duration: ")
    assert lines[8:12] == ["=" * 21, "====== RESULTS ======", "=" * 21, "Passes:      1"]
    assert "Total tests: 1" in lines
    assert lines[-1] == "PASS"


def test_a_failure_is_one_and_its_error_is_printed(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--image", str(image), "--config", config(tmp_path, GOOD, BAD)]) == 1
    out = capsys.readouterr().out
    assert "--- FAIL" in out
    assert "Error: /b must exist, but does not" in out
    assert "Passes:      1\nFailures:    1\n" in out
    assert out.endswith("\nFAIL\n")


def test_no_tests_at_all_is_a_failure(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--image", str(image), "--config", config(tmp_path)]) == 1
    assert "Error: no tests are configured" in capsys.readouterr().out


def test_an_invalid_file_fails_and_the_others_run(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("schemaVersion: 2.0.0\nsurprise: 1\n")
    good = config(tmp_path, GOOD)
    assert main(["--image", str(image), "--config", str(broken), "--config", good]) == 1
    out = capsys.readouterr().out
    assert f"=== RUN: Configuration: {broken}\n--- FAIL" in out
    assert "unknown field 'surprise'" in out
    assert "=== RUN: File Existence Test: there\n--- PASS" in out


def test_a_defect_in_one_test_is_reported_and_the_others_run(
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    check = checks.check_existence

    def fails(subject: ImageUnderTest, test: FileExistenceTest, *variables: Any) -> Outcome:
        if test.path == "/b":
            raise KeyError(test.path)
        return check(subject, test, *variables)

    monkeypatch.setattr(checks, "check_existence", fails)
    assert main(["--image", str(image), "--config", config(tmp_path, BAD, GOOD)]) == 1
    out, err = capsys.readouterr()
    assert "Error: internal error: KeyError('/b'); its traceback is on stderr" in out
    assert "=== RUN: File Existence Test: there\n--- PASS" in out
    assert "Traceback (most recent call last)" in err


def test_an_image_that_cannot_be_started_can_still_be_read(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {"Healthcheck": {"Test": ["python3"]}}
    layout = write_image(tmp_path / "odd", [[Member("a", b"1")]], odd).path
    tests = tmp_path / "tests.json"
    content = {"name": "content", "path": "/a", "expectedContents": ["1"]}
    command = {"name": "command", "command": "/a"}
    value = {
        "schemaVersion": "2.0.0", "fileContentTests": [content], "commandTests": [command],
    }  # fmt: skip
    tests.write_text(json.dumps(value))
    assert main(["--image", str(layout), "--config", str(tests)]) == 1
    out = capsys.readouterr().out
    assert "Error: the image's Healthcheck.Test is ['python3']; expected" in out
    assert "=== RUN: File Content Test: content\n--- PASS" in out


def test_an_image_that_cannot_be_read_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--image", str(tmp_path / "no"), "--config", config(tmp_path, GOOD)]) == 1
    assert f"Error: {tmp_path / 'no'}" in capsys.readouterr().out


def test_a_damaged_layer_is_a_failure(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = json.loads((image / "index.json").read_text())["manifests"][0]["digest"]
    manifest = json.loads((image / "blobs/sha256" / layer.split(":")[1]).read_text())
    blob = image / "blobs/sha256" / manifest["layers"][0]["digest"].split(":")[1]
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    assert main(["--image", str(image), "--config", config(tmp_path, GOOD)]) == 1
    assert f"Error: layer {manifest['layers'][0]['digest']}" in capsys.readouterr().out


def test_the_filter_of_bazel_chooses_tests_and_must_match_one(
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--image", str(image), "--config", config(tmp_path, GOOD, BAD)]
    monkeypatch.setenv("TESTBRIDGE_TEST_ONLY", "Existence.*the")
    assert main(flags) == 0
    assert "Total tests: 1" in capsys.readouterr().out
    monkeypatch.setenv("TESTBRIDGE_TEST_ONLY", "nothing")
    assert main(flags) == 1
    assert "--test_filter 'nothing' matches none of 2 tests" in capsys.readouterr().out


def test_shards_divide_the_tests_and_an_empty_one_passes(
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--image", str(image), "--config", config(tmp_path, GOOD, BAD)]
    status = tmp_path / "status"
    monkeypatch.setenv("TEST_TOTAL_SHARDS", "3")
    monkeypatch.setenv("TEST_SHARD_STATUS_FILE", str(status))
    codes = []
    for shard in range(3):
        monkeypatch.setenv("TEST_SHARD_INDEX", str(shard))
        codes.append(main(flags))
    assert codes == [0, 1, 0]
    assert status.exists()
    assert capsys.readouterr().out.count("=== RUN") == 2


def test_junit_goes_where_bazel_expects_it(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "test.xml"
    monkeypatch.setenv("XML_OUTPUT_FILE", str(target))
    bad = {"name": "odd \x00 \x1b name", "path": "/b"}
    main(["--image", str(image), "--config", config(tmp_path, GOOD, bad)])
    suite = ET.parse(target).getroot()[0]
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == (
        "container-structure-test.test", "2", "1",
    )  # fmt: skip
    assert [case.get("name") for case in suite] == [
        "File Existence Test: there", "File Existence Test: odd \ufffd \ufffd name",
    ]  # fmt: skip
    assert suite[1][0].get("message") == "/b must exist, but does not"
    monkeypatch.setenv("TEST_TARGET", "//backend:image_test")
    main(["--image", str(image), "--config", config(tmp_path, GOOD)])
    assert ET.parse(target).getroot()[0].get("name") == "//backend:image_test"


def test_json_has_upstreams_fields(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--image", str(image), "--config", config(tmp_path, BAD), "--output", "json"]
    assert main(flags) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["Pass"], value["Fail"], value["Total"]) == (0, 1, 1)
    (result,) = value["Results"]
    assert result.pop("Duration") >= 0
    # What is empty is left out, as upstream does.
    assert result == {
        "Name": "File Existence Test: missing",
        "Pass": False,
        "Errors": ["/b must exist, but does not"],
    }


def test_a_target_file_names_everything(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config(tmp_path, GOOD)
    target = {
        "image": "layout",
        "configs": ["c.json"],
        "image_configs": [],
        "driver": "tar",
        "platform": "",
    }
    (tmp_path / "target.json").write_text(json.dumps(target))
    assert main(["--runfiles", str(tmp_path), "--target", "target.json"]) == 0
    assert "Total tests: 1" in capsys.readouterr().out


def test_upstreams_command_line_is_understood(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config(tmp_path, GOOD)
    line = ["test", "--image-from-oci-layout", str(image), "-c", file, "-d", "tar", "--no-color"]
    line += ["--default-image-tag", "a:b", "--ignore-ref-annotation", "--platform", "linux"]
    assert main(line) == 0
    assert main(["test", "-i", str(image), "-c", file, "-q"]) == 0
    assert "Total tests: 1" in capsys.readouterr().out


def test_a_report_is_written_beside_the_text(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["-i", str(image), "-c", config(tmp_path, BAD), "--test-report", str(tmp_path / "r")]
    assert main(flags) == 1
    assert json.loads((tmp_path / "r").read_text())["Fail"] == 1
    assert main([*flags, "-o", "junit", "--junit-suite-name", "mine"]) == 1
    assert ET.parse(tmp_path / "r").getroot()[0].get("name") == "mine"
    assert capsys.readouterr().out.count("Total tests: 1") == 2


def test_junit_can_be_printed(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["-i", str(image), "-c", config(tmp_path, BAD), "-o", "junit"])
    assert ET.fromstring(capsys.readouterr().out).get("failures") == "1"


def test_paths_are_relative_to_where_bazel_run_was_typed(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config(tmp_path, GOOD)
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))
    flags = ["-i", image.name, "-c", "c.json", "--test-report", "report.json", "--cache", "cache"]
    assert main(flags) == 0
    assert parse_flags(flags).cache == tmp_path / "cache"
    assert json.loads((tmp_path / "report.json").read_text())["Total"] == 1


def test_a_report_repeats_long_output_in_part() -> None:
    result = Result("Command Test: t", ("wrong",), 0.0, stdout="a" * 99_999 + "z")
    for written in (text(result), as_json([result]), as_junit([result]).decode()):
        assert "34464 characters left out" in written
        assert "az" in written
        assert len(written) < 70_000


def test_quiet_prints_nothing(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-i", str(image), "-c", config(tmp_path, BAD), "-q", "-o", "json"]) == 1
    assert capsys.readouterr().out == ""


def test_an_image_may_be_an_archive(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "image.tar"
    with archive.open("wb") as stream:
        write_archive(docker_archive(image, ["a:b"]), stream)
    assert main(["-i", str(archive), "-c", config(tmp_path, GOOD), "-d", "tar"]) == 0
    assert (
        main(["-i", str(archive), "-c", config(tmp_path, GOOD), "--platform", "linux/s390x"]) == 1
    )
    assert ", and platform linux/s390x is wanted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["-i", "x", "-d", "host"], "would run the image's tests on this machine and change it"),
        (["-i", "x", "--metadata", "m.json"], "--metadata: belongs to driver 'host'"),
        (["-i", "x", "-f"], "-f: belongs to driver 'host'"),
        (["-i", "x", "--pull"], "--pull: images are files"),
        (["-i", "x", "--save"], "--save: containers are always removed"),
        (["-i", "x", "--image-from-oci-layout", "y"], "not allowed with argument -i/--image"),
        (["-i", "x", "-d", "kubernetes"], "invalid choice: 'kubernetes'"),
    ],
)
def test_an_unsupported_flag_is_refused_with_the_reason(
    flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_flags_without_an_image_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "--image is required" in capsys.readouterr().err
