"""The README's example, built by executors: every action runs there, and the image is the same."""

from __future__ import annotations

import os
from pathlib import Path

from tools.service.bazel_for_test import (
    Release,
    Workspace,
    files_to_fetch,
    fill_repository_cache,
)
from tools.service.executors_for_test import executors


def test_executors_run_every_action_and_make_the_image_that_this_machine_makes() -> None:
    scratch = Path(os.environ["TEST_TMPDIR"])
    runfiles, caches = Path(os.environ["TEST_SRCDIR"]), scratch / "caches"
    fill_repository_cache(caches / "repository", files_to_fetch(runfiles))
    release = Release.unpack(runfiles, scratch / "unpacked")
    workspace = Workspace(scratch / "hello", home=scratch / "home", caches=caches, release=release)
    with executors(scratch / "executors") as url:
        there = workspace.build(
            "image", "--disk_cache=", "--noremote_local_fallback", f"--remote_executor={url}"
        )
        digest = workspace.digest("image")
    assert len(there) >= 15
    assert {action["runner"] for action in there.values()} == {"remote"}
    workspace.bazel("clean")
    here = workspace.build("image", "--disk_cache=")
    workspace.bazel("shutdown")
    assert here.keys() == there.keys()
    assert "remote" not in {action["runner"] for action in here.values()}
    assert workspace.digest("image") == digest
