"""diffoscope finds no difference between two builds of the image, and the one that we plant.

STEPS lists the commands that made the image (`build_steps`). Those of REBUILT run again, in another
place and under other conditions; the other layers are of the first build, since the test of
reproducibility makes them all again and compares them itself.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tools.conformance.programs_for_test import Programs, copy_layout, programs
from tools.image.layout import read_layout
from tools.proof.rebuild import read_steps, rebuild

REBUILT = frozenset({"LayerPolicy", "PythonSourceLayer", "OciImage", "OciImageConfig"})
PLANTED = "app/main.py"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """The programs, with the two builds as `first` and `second`."""
    here = programs(tmp_path_factory.mktemp("programs"))
    build = read_steps(Path(os.environ["STEPS"]))
    again = replace(build, steps=tuple(step for step in build.steps if step.mnemonic in REBUILT))
    assert {step.mnemonic for step in again.steps} == REBUILT
    (image,) = (
        output
        for step in again.steps
        for output in step.outputs
        if step.mnemonic == "OciImageConfig" and output.directory
    )
    root = tmp_path_factory.mktemp("second")
    assert rebuild(again, runfiles=Path.cwd(), root=root) == []
    copy_layout(Path(image.short_path), here.work / "first")
    copy_layout(root / image.path, here.work / "second")
    yield here
    shutil.rmtree(here.work)


def _diffoscope(*directories: str) -> tuple[str, ...]:
    # Times of directories are not the layout's, and stat(1) is not there to show them.
    return ("diffoscope", "--exclude-directory-metadata=yes", "--text=-", *directories)


def test_two_builds_do_not_differ(here: Programs) -> None:
    assert here.run(*_diffoscope("first", "second")) == ""


def test_a_planted_difference_is_found_in_its_file(here: Programs) -> None:
    blob = read_layout(here.work / "second").layers[-1].path
    before = blob.read_bytes()
    blob.write_bytes(_with_a_changed_byte(before))
    try:
        done = here.attempt(*_diffoscope("first", "second"))
    finally:
        blob.write_bytes(before)
    assert done.returncode == 1, done.stderr
    assert f"── {PLANTED}" in done.stdout
    assert "+#" in done.stdout


def _with_a_changed_byte(layer: bytes) -> bytes:
    """Return the layer with another first byte in a module of the application."""
    changed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(layer)) as old,
        tarfile.open(fileobj=changed, mode="w", format=old.format) as new,
    ):
        for member in old:
            stream = old.extractfile(member)
            data = stream.read() if stream else b""
            if member.name.lstrip("./") == PLANTED:
                data = b"#" + data[1:]
            new.addfile(member, io.BytesIO(data))
    return gzip.compress(changed.getvalue(), mtime=0)
