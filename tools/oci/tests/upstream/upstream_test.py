"""What the build file beside this test says comes out as rules_oci 2.x documents it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.image.layout import open_layout, read_children, read_image, read_layout, verify_layers

PACKAGE = Path(os.environ["PACKAGE"])


def test_a_base_with_its_blobs_inside_is_the_same_base() -> None:
    base, copied = read_layout(PACKAGE / "base"), read_layout(PACKAGE / "copied_base")
    assert copied.digest == base.digest
    verify_layers(copied)


def test_files_do_what_lists_and_dictionaries_do() -> None:
    image = read_layout(PACKAGE / "image")
    verify_layers(image)
    assert image.config["config"] == {
        "Cmd": ["--port", "8000"],
        "Entrypoint": ["/app/bin/server"],
        "Env": ["PATH=/app/bin:/usr/bin:/bin", "APP_HOME=/app"],
        "ExposedPorts": {"8000/tcp": {}, "9000/udp": {}},
        "Labels": {"org.opencontainers.image.source": "https://example.org/?a=b"},
        "User": "65532:65532",
        "Volumes": {"/cache": {}, "/data": {}},
        "WorkingDir": "/app",
    }
    assert image.manifest["annotations"] == {"org.example.note": "from a file"}
    assert [layer.compression for layer in image.layers] == ["gzip", "none", "gzip"]
    assert len({layer.diff_id for layer in image.layers}) == 1


@pytest.mark.parametrize("index", ["index", "index_of_one_target"])
def test_an_index_has_its_image_for_each_platform(index: str) -> None:
    layout = open_layout(PACKAGE / index)
    platforms = [
        read_image(layout, child).config["architecture"]
        for child in read_children(layout, layout.root)
    ]
    # The order of platforms is Bazel's; the same for everybody, but not the one that was written.
    assert sorted(platforms) == ["amd64", "arm64"]


def test_an_index_by_the_rule_has_its_images_in_order() -> None:
    layout = open_layout(PACKAGE / "index_by_rule")
    children = read_children(layout, layout.root)
    assert [child.member("platform") for child in children] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "variant": "v8"},
    ]


def test_a_program_is_one_file() -> None:
    lines = (PACKAGE / "programs.txt").read_text().splitlines()
    assert len(lines) == 2
    assert all(line.startswith("#!") for line in lines)


def test_another_rule_reads_digests_and_tarball() -> None:
    lines = (PACKAGE / "release_notes.txt").read_text().splitlines()
    digests = [read_layout(PACKAGE / "image").digest, open_layout(PACKAGE / "index").root.digest]
    assert lines[:2] == digests
    assert lines[2] == "manifest.json"
