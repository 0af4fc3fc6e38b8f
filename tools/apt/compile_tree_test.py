"""Bytecode of a whole tree: the same bytes wherever it lies, loaded and never written again."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tools.apt import compile_tree

_STDLIB = Path(os.__file__).parent
_PROGRAM = Path(compile_tree.__file__).resolve()


def _compile(root: Path, *directories: str, seed: str = "0") -> None:
    subprocess.run(
        [sys.executable, "-E", "-S", "-B", "-X", "utf8", str(_PROGRAM), *directories],
        cwd=root,
        env={"PATH": os.defpath, "PYTHONHASHSEED": seed},
        check=True,
        timeout=300,
    )


def _bytecode(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.pyc")}


def _copy_of_the_library(root: Path) -> Path:
    for package in ("asyncio", "email", "json"):
        shutil.copytree(
            _STDLIB / package, root / "lib" / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return root


def test_two_trees_in_different_places_get_the_same_bytes(tmp_path: Path) -> None:
    first = _copy_of_the_library(tmp_path / "first")
    second = _copy_of_the_library(tmp_path / "a" / "much longer" / "second")
    _compile(first, "lib", seed="1")
    _compile(second, "lib", seed="2")
    compiled = _bytecode(first)
    assert len(compiled) > 50
    assert compiled == _bytecode(second)
    assert not [name for name, data in compiled.items() if os.fsencode(tmp_path) in data]


def test_the_interpreter_takes_the_bytecode_and_never_writes_it_again(tmp_path: Path) -> None:
    source = tmp_path / "lib" / "module.py"
    source.parent.mkdir()
    source.write_text("print('compiled from', __file__)\nraise SystemExit(1 / 0)\n")
    _compile(tmp_path, "lib")
    before = _bytecode(tmp_path)
    os.utime(source, (1, 1))
    source.write_text("raise SystemExit('the source was compiled again')\n")
    done = subprocess.run(
        [sys.executable, "-c", "import module"],
        env={"PATH": os.defpath, "PYTHONPATH": str(source.parent), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == f"compiled from {source}\n"
    # A relative path in the bytecode, and the real one in a traceback.
    assert f'File "{source}", line 2' in done.stderr
    assert _bytecode(tmp_path) == before


def test_a_file_that_does_not_compile_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "null.py").write_bytes(b"x = '\0'\n")
    (tmp_path / "good.py").write_text("x = 1\n")
    _compile(tmp_path, ".")
    assert [Path(name).name for name in _bytecode(tmp_path)] == [
        Path(importlib.util.cache_from_source("good.py")).name
    ]


def test_a_link_to_a_file_is_compiled_and_one_to_a_directory_is_not_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere.py").write_text("x = 1\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "link.py").symlink_to("../elsewhere.py")
    (tmp_path / "lib" / "loop").symlink_to("..")
    assert compile_tree.sources(str(tmp_path / "lib")) == [str(tmp_path / "lib" / "link.py")]


def test_tests_and_what_an_extension_replaces_are_left_alone(tmp_path: Path) -> None:
    names = ("a/b.py", "a/fast.py", "a/fast.cpython-311-x86_64-linux-gnu.so", "a/tests/c.py")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    _compile(tmp_path, "a")
    (name,) = _bytecode(tmp_path)
    assert name == f"a/__pycache__/b.{sys.implementation.cache_tag}.pyc"
