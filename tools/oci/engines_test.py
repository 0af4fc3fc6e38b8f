"""Which container engine is used, and what is said when none works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.oci import engines
from tools.oci.engines import FoundEngine, NoEngineError, find_engine, installed

NAMES = ("docker", "podman")


def _program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_first_engine_that_works_is_used(tmp_path: Path) -> None:
    environ = {"PATH": str(tmp_path)}
    _program(tmp_path, "docker", "echo warning >&2; echo no daemon at sock >&2; exit 1")
    podman = _program(tmp_path, "podman", '[ "$*" = info ]')
    assert find_engine(NAMES, environ) == FoundEngine(
        str(podman), (f"{tmp_path}/docker: no daemon at sock",)
    )
    _program(tmp_path, "docker", "exit 0")
    assert find_engine(NAMES, environ) == FoundEngine(f"{tmp_path}/docker")
    assert find_engine([str(podman)], {}) == FoundEngine(str(podman))
    assert installed(["nerdctl", "podman", "docker"], environ) == [
        str(podman),
        f"{tmp_path}/docker",
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "'info' failed with exit code 3"),
        ("exec /bin/sleep 9", "'info' timed out after 1 s"),
    ],
)
def test_where_none_works_the_error_gives_the_reason_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setattr(engines, "_INFO_TIMEOUT", 1.0)
    _program(tmp_path, "podman", script)
    with pytest.raises(NoEngineError) as caught:
        find_engine(NAMES, {"PATH": str(tmp_path)})
    assert str(caught.value) == f"docker: not found; {tmp_path}/podman: {reason}"


def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    _program(tmp_path, "docker", "")
    (tmp_path / "docker").write_bytes(b"\x7fELF nonsense")
    with pytest.raises(NoEngineError) as caught:
        find_engine(NAMES, {"PATH": str(tmp_path)})
    assert str(caught.value) == f"{tmp_path}/docker: Exec format error; podman: not found"
