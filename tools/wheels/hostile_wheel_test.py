"""A wheel whose every file tries to run: nothing of it does, from the lock to the layer."""

from __future__ import annotations

import json
from pathlib import Path

import pip
import pytest

from tools.wheels import fetch_wheels, lock, wheel_bytecode, wheel_layer
from tools.wheels.lockfile import parse_lock
from tools.wheels.wheels_for_test import TinyWheel, write_index


def hostile(mark: Path) -> TinyWheel:
    attack = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n".encode()
    script = f"#!/bin/sh\ntouch {mark}\n".encode()
    return TinyWheel(
        "eager",
        entry_points="[console_scripts]\neager = eager:main\n",
        files={
            "eager/__init__.py": attack,
            "eager/__main__.py": attack,
            "eager.pth": attack,
            "conftest.py": attack,
            "pip.py": attack,
            "setup.py": attack,
            "sitecustomize.py": attack,
            "usercustomize.py": attack,
            "eager-1.0.data/scripts/eager-setup": script,
            "eager-1.0.data/data/etc/profile.d/eager.sh": script,
        },
    )


def test_nothing_of_a_wheel_runs_while_it_is_locked_fetched_compiled_and_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "it ran"
    wheel = hostile(mark)
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", write_index([wheel], directory=tmp_path / "index"))
    packages = [
        {"name": name, "arch": "amd64", "version": version}
        for name, version in (("python3.11", "3.11.2-6"), ("libc6", "2.36-9"))
    ]
    (tmp_path / "debian.json").write_text(json.dumps({"packages": packages, "mtime": 1}))
    (tmp_path / "requirements.in").write_text("eager\n")
    flags = ["--input=requirements.in", "--debian-lock=debian.json", "--architecture=amd64"]
    assert lock.main([*flags, "--command=bazel run //:lock"]) == 0

    text = (tmp_path / "requirements.amd64.txt").read_text()
    [locked] = parse_lock(text, source="lock")
    wanted = f"--wheel={locked.name}=={locked.version} {locked.sha256} {locked.filename}"
    fetched = tmp_path / "fetched"
    folders = [f"--pip={Path(pip.__file__).parent.parent}", f"--output={fetched}"]
    # A directory with the wheel's files is not where pip starts, but a user's might be.
    monkeypatch.chdir(tmp_path)
    assert fetch_wheels.main([wanted, *folders]) == 0

    path, bytecode = fetched / locked.filename, tmp_path / "bytecode.zip"
    assert wheel_bytecode.main([f"--wheel={path}", f"--out={bytecode}"]) == 0
    made = [f"--wheel={path}", f"--bytecode={bytecode}", f"--lock={tmp_path / 'debian.json'}"]
    out = [f"--out={tmp_path / 'layer.tar.gz'}", f"--descriptor={tmp_path / 'layer.json'}"]
    assert wheel_layer.main([*made, *out]) == 0
    assert not mark.exists()
    exec(hostile(mark).files["setup.py"])
    assert mark.exists(), "the attack would work"
