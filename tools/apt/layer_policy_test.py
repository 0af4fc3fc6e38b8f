"""A policy is what layers need of a lock, and stays when other parts of the lock change."""

import json
from pathlib import Path

import pytest

from tools.apt import layer_policy

_RULES = [{"glob": "usr/share/man/**", "reason": "documentation"}]


def _policy(path: Path, **more: object) -> str:
    lock = path / "lock.json"
    lock.write_text(json.dumps({"mtime": 5, "excluded_paths": _RULES, **more}))
    out = path / "policy.json"
    assert layer_policy.main(["--lock", str(lock), "--out", str(out)]) == 0
    return out.read_text()


def test_pins_that_move_do_not_change_the_policy(tmp_path: Path) -> None:
    assert _policy(tmp_path, packages=[]) == _policy(tmp_path, packages=[{"name": "x"}])
    assert _policy(tmp_path) != _policy(tmp_path, mtime=6)


def test_a_policy_reads_as_the_lock_it_came_from(tmp_path: Path) -> None:
    _policy(tmp_path)
    policy = layer_policy.read_policy(tmp_path / "policy.json")
    assert policy == layer_policy.read_policy(tmp_path / "lock.json")
    assert policy.mtime == 5
    assert policy.exclusions.match("usr/share/man/man1")


def test_whole_packages_keep_the_time_and_leave_nothing_out(tmp_path: Path) -> None:
    _policy(tmp_path)
    out = tmp_path / "whole.json"
    lock = str(tmp_path / "lock.json")
    assert layer_policy.main(["--lock", lock, "--out", str(out), "--whole-packages"]) == 0
    policy = layer_policy.read_policy(out)
    assert (policy.mtime, policy.excluded_globs) == (5, ())


def test_an_invalid_lock_is_one_line_of_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "lock.json"
    lock.write_text('{"mtime": 1}')
    assert layer_policy.main(["--lock", str(lock), "--out", str(tmp_path / "p")]) == 1
    assert f"{lock}: not a lock: KeyError('excluded_paths')" in capsys.readouterr().err
