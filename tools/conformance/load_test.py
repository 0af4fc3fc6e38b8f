"""`oci_load` with a real Podman: only what its storage lacks is read, and nothing gets lost."""

from __future__ import annotations

import os
import random
import shlex
from pathlib import Path

import pytest

from tools.conformance.programs_for_test import Programs, programs
from tools.image import layouts_for_test as make
from tools.image.layout import read_layout
from tools.oci import load

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = {"config": {"Healthcheck": {"Test": ["CMD", "true"]}}}
# Random, so that compressing it does not help.
BIG = make.tar_bytes({"big": random.Random(1).randbytes(4 << 20)})
TAGS = ["localhost/app:latest", "localhost/app:second"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """The programs, of which `podman` is the only one on PATH."""
    found = programs(tmp_path)
    podman = tmp_path / "bin" / "podman"
    podman.parent.mkdir()
    path = shlex.quote(os.environ["PATH"])
    command = shlex.join(found.command("podman"))
    podman.write_text(f'#!/bin/sh\nPATH={path} exec {command} "$@"\n')
    podman.chmod(0o755)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(podman.parent))
    # What Podman reads has to be where it sees it.
    monkeypatch.setattr("tempfile.tempdir", str(found.work))
    (found.work / "tags.txt").write_text("\n".join(TAGS) + "\n")
    return found


def _layout(here: Programs, name: str, text: bytes) -> Path:
    layout = here.work / name
    tars = [BIG, make.tar_bytes({"small": text})]
    make.make_layout(layout, layers=tars, media_type=DOCKER_MANIFEST, config_extra=CONFIG)
    return layout


def _load(here: Programs, layout: Path) -> int:
    return load.main(["--layout", str(layout), "--repo-tags", str(here.work / "tags.txt")])


def test_podman_reads_only_the_layer_that_changed(
    here: Programs, capfd: pytest.CaptureFixture[str]
) -> None:
    assert _load(here, _layout(here, "first", b"one")) == 0
    second = _layout(here, "second", b"two")
    image = read_layout(second)
    # Whoever read this layer would notice that it is not what it is called.
    image.layers[0].path.write_bytes(bytes(image.layers[0].size))
    assert _load(here, second) == 0
    output = capfd.readouterr()
    assert output.out.count(f"Loaded image: {', '.join(TAGS)}") == 2
    assert "whole image" not in output.err
    (entry,) = here.read("podman", "image", "inspect", TAGS[0])
    assert entry["Id"] == image.manifest["config"]["digest"].removeprefix("sha256:")
    assert entry["Digest"] == image.digest
    assert sorted(entry["RepoTags"]) == TAGS
    assert entry["Healthcheck"] == {"Test": ["CMD", "true"]}
    assert entry["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
    # Nothing remains of what Podman was shown.
    assert not list(here.work.glob("oci_load-*"))


def test_a_podman_that_cannot_see_our_files_is_sent_the_whole_image(
    here: Programs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(hidden))
    layout = _layout(here, "first", b"one")
    assert _load(here, layout) == 0
    assert "(exit code 125); loading the whole image\n" in capfd.readouterr().err
    (entry,) = here.read("podman", "image", "inspect", TAGS[0])
    config = read_layout(layout).manifest["config"]["digest"]
    assert entry["Id"] == config.removeprefix("sha256:")
