"""The rules as Bazel runs them: the directories they make, found through runfiles."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.image.layout import (
    Image,
    open_layout,
    read_children,
    read_image,
    read_layout,
    verify_layers,
)
from tools.registry.registry_for_test import running

IMAGES = Path(os.environ["IMAGES"])
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"


def _run_config(image: Image) -> dict[str, Any]:
    config: dict[str, Any] = image.config["config"]
    return config


@pytest.mark.parametrize("name", ["base", "child", "healthy", "plain", "plain_zstd"])
def test_a_layout_is_complete_and_its_digest_is_that_of_the_digest_target(name: str) -> None:
    image = read_layout(IMAGES / name)
    verify_layers(image)
    assert (IMAGES / f"{name}.json.sha256").read_text() == f"{image.digest}\n"


def test_every_attribute_reaches_the_config() -> None:
    image = read_layout(IMAGES / "base")
    assert _run_config(image) == {
        "Cmd": ["two words", "", "new\nline"],
        "Entrypoint": ["/bin/sh", "-c"],
        "Env": ["PATH=/usr/bin", "SELF=</usr/bin>"],
        "ExposedPorts": {"53/udp": {}, "8000/tcp": {}},
        "Labels": {"source": "a=b"},
        "User": "1000:1000",
        "Volumes": {"/data": {}, "/tmp": {}},
        "WorkingDir": "/srv",
    }
    platform = {name: image.config[name] for name in ("os", "architecture", "variant")}
    assert platform == {"os": "linux", "architecture": "arm64", "variant": "v8"}
    assert image.config["created"] == "2024-01-01T00:00:00Z"
    assert image.manifest["annotations"] == {"base": "yes"}


def test_labels_are_the_same_everywhere_and_only_flags_add_a_revision() -> None:
    always = {
        "org.opencontainers.image.title": "Greeting = hello",
        "org.opencontainers.image.version": "0",
    }
    assert _run_config(read_layout(IMAGES / "labelled"))["Labels"] == always
    assert _run_config(read_layout(IMAGES / "stamped"))["Labels"] == {
        **always,
        "org.opencontainers.image.revision": "0a1b2c",
        "org.opencontainers.image.version": "1.2.3",
    }


def test_a_child_adds_layers_to_its_base() -> None:
    base, child = read_layout(IMAGES / "base"), read_layout(IMAGES / "child")
    assert child.layers[0].digest == base.layers[0].digest
    assert child.layers[2].digest == base.layers[0].digest
    assert len(child.layers) == 3
    # A tar that reaches the image through a filegroup has the label of the rule that wrote it.
    assert [entry["created_by"] for entry in child.config["history"]] == [
        "bazel build //tools/oci/tests:greeting_layer",
        "bazel build //tools/oci/tests:data_layer",
        "bazel build //tools/oci/tests:greeting_layer",
    ]
    assert _run_config(child)["Env"] == ["PATH=/app:/usr/bin", "SELF=</usr/bin>"]


def test_a_layer_may_hold_any_name() -> None:
    with tarfile.open(read_layout(IMAGES / "child").layers[1].path) as layer:
        assert layer.getmember("srv/day=1/@x.json").mode == 0o600
        assert layer.getmember("srv/day=2").linkname == "day=1"


def test_no_layer_is_copied() -> None:
    # The directory itself may be reached through a link of the runfiles tree; the one behind it
    # is what Bazel keeps.
    for name in ("base", "child", "healthy", "everything"):
        directory = (IMAGES / name / "index.json").resolve().parent
        sizes = [
            file.lstat().st_size
            for file in directory.rglob("*")
            if file.is_file() and not file.is_symlink()
        ]
        assert sum(sizes) < 10_000


def test_a_healthcheck_comes_with_dockers_media_types() -> None:
    image = read_layout(IMAGES / "healthy")
    assert image.media_type == DOCKER
    assert _run_config(image) == {
        "Healthcheck": {
            "Test": ["CMD-SHELL", "test -e /srv/greeting"],
            "Interval": 30_000_000_000,
            "Retries": 2,
        },
        "StopSignal": "SIGQUIT",
    }
    assert image.layers[0].digest == read_layout(IMAGES / "plain").layers[0].digest


def test_annotations_of_a_fetched_base_give_way_to_a_healthcheck() -> None:
    base = read_layout(IMAGES / "on_fetched_base")
    assert base.manifest["annotations"] == {"base": "yes"}
    image = read_layout(IMAGES / "healthy_on_fetched_base")
    assert image.media_type == DOCKER
    assert "annotations" not in image.manifest
    assert _run_config(image)["Healthcheck"] == {"Test": ["CMD", "/x"]}


@pytest.mark.parametrize("compression", ["gzip", "none", "zstd"])
def test_an_image_says_how_its_layers_are_compressed(compression: str) -> None:
    plain, packed = read_layout(IMAGES / "plain"), read_layout(IMAGES / f"plain_{compression}")
    verify_layers(packed)
    assert [layer.compression for layer in packed.layers] == [compression]
    assert [layer.diff_id for layer in packed.layers] == [layer.diff_id for layer in plain.layers]
    magic = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5", "none": b"sr"}
    assert packed.layers[0].path.read_bytes()[:2] == magic[compression]


def test_an_index_lists_its_images() -> None:
    layout = open_layout(IMAGES / "everything")
    children = [read_image(layout, each) for each in read_children(layout, layout.root)]
    names = ("child", "healthy")
    assert [image.digest for image in children] == [read_layout(IMAGES / n).digest for n in names]
    for image in children:
        verify_layers(image)


def test_an_image_can_be_built_for_each_platform_of_an_index() -> None:
    layout = open_layout(IMAGES / "by_platform")
    (child,) = read_children(layout, layout.root)
    assert child.digest == read_layout(IMAGES / "plain").digest


def test_a_push_target_pushes_with_its_own_tags_and_those_of_the_flags(tmp_path: Path) -> None:
    with running(tmp_path / "registry") as server:
        run = subprocess.run(
            [os.environ["PUSH"], "--repository", f"{server.host}/app", "--tag=three"],
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        digest = (IMAGES / "everything.json.sha256").read_text().strip()
        assert run.stdout == f"{server.host}/app@{digest}\n"
        for tag in ("one", "two", "three"):
            stored = server.manifest("app", tag) or b""
            assert "sha256:" + hashlib.sha256(stored).hexdigest() == digest


def test_an_attach_target_attaches_its_file_with_its_annotations(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with running(tmp_path / "registry") as server:
        for program in ("PUSH", "ATTACH"):
            run = subprocess.run(
                [os.environ[program], "--repository", f"{server.host}/app"],
                env=environ,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert run.returncode == 0, run.stderr
        manifest = json.loads(server.manifest("app", run.stdout.strip().partition("@")[2]) or b"")
        (layer,) = manifest["layers"]
        assert server.blob("app", layer["digest"]) == b"hello"
    assert manifest["subject"]["digest"] == (
        (IMAGES / "everything.json.sha256").read_text().strip()
    )
    assert manifest["artifactType"] == "application/x-greeting"
    assert layer["mediaType"] == "text/plain"
    assert layer["annotations"] == {"org.opencontainers.image.title": "greeting.txt"}
    assert manifest["annotations"] == {"to": "everybody"}


def test_a_load_target_streams_the_bytes_of_its_tarball(tmp_path: Path) -> None:
    engine = tmp_path / "docker"
    engine.write_text(f'#!/bin/sh\nexec cat > "{tmp_path}/loaded.tar"\n')
    engine.chmod(0o755)
    run = subprocess.run(
        [os.environ["LOAD"]],
        env={"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    tarball = Path(os.environ["TARBALL"])
    assert (tmp_path / "loaded.tar").read_bytes() == tarball.read_bytes()
    assert tarball.parts[-2:] == ("load", "tarball.tar")
    with tarfile.open(tarball) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        (manifest,) = json.load(member)
    assert manifest["RepoTags"] == ["tests/child:latest"]
    assert len(manifest["Layers"]) == 3


def test_a_loader_that_is_a_source_file_is_called_as_a_program_is() -> None:
    run = subprocess.run(
        [os.environ["LOAD_BY_FILE"]],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == Path(os.environ["TARBALL"]).read_bytes()
