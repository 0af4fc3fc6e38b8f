"""Healthchecks and media types: what is written, and what is refused because it would be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.cli import ToolError
from tools.image import layouts_for_test as make
from tools.image.layout import Image, read_layout, verify_layers
from tools.oci import config
from tools.oci.healthcheck import parse_duration

TAR = make.tar_bytes({"a": b"a"})
OCI = make.OCI_MANIFEST
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
OCI_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
CHECK = ['--healthcheck=["CMD", "python3", "-mapp.healthcheck"]']


def _run(tmp_path: Path, *arguments: str) -> int:
    out = ["--output", str(tmp_path / "out"), "--digest-output", str(tmp_path / "digest")]
    return config.main(["--input", str(tmp_path / "in"), *out, "--label", "//x:y", *arguments])


def _configure(tmp_path: Path, *arguments: str, **layout: Any) -> Image:
    make.make_layout(tmp_path / "in", layers=[TAR], **layout)
    assert _run(tmp_path, *arguments) == 0
    return read_layout(tmp_path / "out")


def test_a_healthcheck_is_written_in_nanoseconds_with_dockers_media_types(tmp_path: Path) -> None:
    found = _configure(
        tmp_path,
        *CHECK,
        "--healthcheck-interval=30s",
        "--healthcheck-timeout=1m30s",
        "--healthcheck-start-period=10s",
        "--healthcheck-start-interval=500ms",
        "--healthcheck-retries=3",
    )
    assert found.config["config"]["Healthcheck"] == {
        "Test": ["CMD", "python3", "-mapp.healthcheck"],
        "Interval": 30_000_000_000,
        "Timeout": 90_000_000_000,
        "StartPeriod": 10_000_000_000,
        "StartInterval": 500_000_000,
        "Retries": 3,
    }
    assert found.media_type == DOCKER
    config_type = found.manifest["config"]["mediaType"]
    assert config_type == "application/vnd.docker.container.image.v1+json"
    layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert [layer.media_type for layer in found.layers] == [layer_type]


def test_layers_stay_the_same_and_are_linked(tmp_path: Path) -> None:
    found = _configure(tmp_path, *CHECK)
    before = read_layout(tmp_path / "in")
    assert [each.digest for each in found.layers] == [each.digest for each in before.layers]
    assert str(found.layers[0].path.readlink()).startswith("../../../in/blobs/sha256/")
    verify_layers(found)
    assert (tmp_path / "digest").read_text() == f"{found.digest}\n"
    blobs = {file.name for file in (tmp_path / "out" / "blobs" / "sha256").iterdir()}
    assert len(blobs) == 3


@pytest.mark.parametrize("media_type", [OCI, DOCKER])
def test_without_a_healthcheck_the_media_types_stay(tmp_path: Path, media_type: str) -> None:
    found = _configure(
        tmp_path,
        "--stop-signal=SIGQUIT",
        '--shell=["/bin/bash", "-c"]',
        media_type=media_type,
    )
    assert found.media_type == media_type
    assert found.config["config"] == {"StopSignal": "SIGQUIT", "Shell": ["/bin/bash", "-c"]}


def test_docker_types_turn_into_oci_types(tmp_path: Path) -> None:
    found = _configure(tmp_path, "--media-types=oci", media_type=DOCKER)
    assert found.media_type == OCI
    assert found.manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert found.layers[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip"


def test_annotations_survive_in_oci_types(tmp_path: Path) -> None:
    found = _configure(tmp_path, "--stop-signal=9", manifest_extra={"annotations": {"a": "b"}})
    assert found.manifest["annotations"] == {"a": "b"}


@pytest.mark.parametrize("media_type", [OCI, DOCKER])
def test_annotations_of_a_base_give_way_to_a_healthcheck_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], media_type: str
) -> None:
    annotations = {"org.opencontainers.image.version": "12", "org.opencontainers.image.created": ""}
    (tmp_path / "own.txt").write_text("of=an index\n")
    found = _configure(
        tmp_path,
        *CHECK,
        f"--annotations={tmp_path}/own.txt",
        media_type=media_type,
        manifest_extra={"annotations": annotations},
    )
    assert found.media_type == DOCKER
    assert found.config["config"]["Healthcheck"]["Test"][0] == "CMD"
    assert "annotations" not in found.manifest
    assert capsys.readouterr().err == (
        "note: //x:y: Docker's manifests have no annotations, so the base image's are left out: "
        "org.opencontainers.image.created, org.opencontainers.image.version\n"
    )


def test_losing_a_healthcheck_can_be_allowed(tmp_path: Path) -> None:
    found = _configure(tmp_path, *CHECK, "--media-types=oci", "--allow-ignored-healthcheck")
    assert found.media_type == OCI
    assert found.config["config"]["Healthcheck"]["Test"][0] == "CMD"


def test_a_disabled_healthcheck_needs_no_docker_types(tmp_path: Path) -> None:
    found = _configure(tmp_path, '--healthcheck=["NONE"]', "--media-types=oci")
    assert found.config["config"]["Healthcheck"] == {"Test": ["NONE"]}


def test_timing_alone_changes_the_present_healthcheck(tmp_path: Path) -> None:
    present = {"config": {"Healthcheck": {"Test": ["CMD", "x"], "Retries": 5, "Interval": 1}}}
    found = _configure(
        tmp_path, "--healthcheck-interval=5s", media_type=DOCKER, config_extra=present
    )
    assert found.config["config"]["Healthcheck"] == {
        "Test": ["CMD", "x"],
        "Retries": 5,
        "Interval": 5_000_000_000,
    }


def test_a_leftover_of_a_docker_build_does_not_override_the_healthcheck(tmp_path: Path) -> None:
    extra = {"container_config": {"Hostname": "h", "Healthcheck": {"Test": ["CMD", "old"]}}}
    found = _configure(tmp_path, *CHECK, media_type=DOCKER, config_extra=extra)
    assert found.config["container_config"] == {"Hostname": "h"}


HEALTHY = {"config": {"Healthcheck": {"Test": ["CMD", "x"]}}}


@pytest.mark.parametrize(
    ("arguments", "layout", "message"),
    [
        ([*CHECK, "--media-types=oci"], {}, "media_types 'oci' would lose the healthcheck: podman"),
        (["--media-types=oci"], {"config_extra": HEALTHY}, "'oci' would lose the healthcheck"),
        (CHECK, {"layer_type": OCI_ZSTD}, "compressed with zstd, which Docker's media types"),
        (
            [*CHECK, "--annotations=own.txt"],
            {"manifest_extra": {"annotations": {"b": "1", "a": "2"}}},
            "Docker's manifests have no annotations, and these would be lost: a; write them as",
        ),
        ([*CHECK, "--healthcheck-retries=-1"], {}, "healthcheck_retries: must be at least 1"),
        (['--healthcheck=["true"]'], {}, "must begin with 'CMD', 'CMD-SHELL' or 'NONE', found"),
        (['--healthcheck=["CMD"]'], {}, "'CMD' must be followed by a program"),
        (
            ['--healthcheck=["CMD-SHELL", "a", "b"]'],
            {},
            "'CMD-SHELL' takes one command line, found 2 arguments",
        ),
        (
            ['--healthcheck=["NONE"]', "--healthcheck-retries=1"],
            {},
            "'NONE' disables it and takes no",
        ),
        (
            ["--healthcheck-retries=1"],
            {},
            "Retries: there is no healthcheck to apply it to: the image has none",
        ),
        (
            [*CHECK, "--healthcheck-interval=30"],
            {},
            "healthcheck_interval: must be a duration such as '30s' or '1m30s', found '30'",
        ),
        (["--stop-signal=HALT"], {}, "stop_signal: 'HALT' is not a signal; write a name such as"),
    ],
)
def test_a_combination_that_cannot_work_is_refused_with_the_reason(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    layout: dict[str, Any],
    message: str,
) -> None:
    make.make_layout(tmp_path / "in", layers=[TAR], **layout)
    monkeypatch.chdir(tmp_path)
    Path("own.txt").write_text("a=2\nc=3\n")
    assert _run(tmp_path, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("oci_image_config: //x:y: ")
    assert message in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0s", 0), ("1ms", 10**6), ("1.5s", 1_500_000_000), ("2h0.5m", 7230 * 10**9)],
)
def test_durations_are_exact(text: str, nanoseconds: int) -> None:
    assert parse_duration(text, what="x") == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1 s", "1d", "999us", "0.3ns"])
def test_an_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match=f"x: must be .* found '{text}'"):
        parse_duration(text, what="x")
