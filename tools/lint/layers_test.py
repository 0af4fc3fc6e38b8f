"""Imports and loads flow one way: no circle between files or folders, and none uphill."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.lint.dependencies import (
    Graph,
    by_folder,
    bzl_loads,
    circles,
    folder,
    python_imports,
    uphill,
)

_SOURCES = Path("../lint_sources").resolve()

# A folder may use its own level and those before it; third_party holds data and what declares it.
_LEVELS = (
    {"tools/cli.py", "tools/source_files.bzl", "tools/worker.bzl", "tools/worker.py"},
    {"tools/archive", "tools/elf", "tools/linux"},
    {"tools/apt", "tools/image", "tools/python_tool.bzl", "tools/wheels"},
    {"tools/bazel_root", "tools/container", "tools/oci", "tools/registry"},
    {
        "tools/attest",
        "tools/proof",
        "tools/pytest",
        "tools/sbom",
        "tools/size",
        "tools/structure_test",
    },
    {"tools/audit", "tools/vendor", "tools/verify"},
    {"third_party/audit", "third_party/bazel", "third_party/debian", "third_party/python"},
    {"tools/benchmarks", "tools/conformance", "tools/fuzz", "tools/lint", "tools/service"},
)


def _paths(suffix: str, *directories: str) -> list[str]:
    found = [
        str(path.relative_to(_SOURCES))
        for directory in directories
        for path in sorted(_SOURCES.joinpath(directory).rglob(f"*{suffix}"))
    ]
    assert found, directories
    return found


def _is_test(path: str) -> bool:
    stem = posixpath.basename(path).partition(".")[0]
    return stem == "conftest" or stem.endswith(("_test", "_for_test", "_tests"))


@functools.cache
def _python(*directories: str, root: str = "") -> dict[str, list[str]]:
    paths = _paths(".py", *directories)
    files = set(paths)
    return {path: python_imports(path, _read(path), root=root, files=files) for path in paths}


def _read(path: str) -> str:
    return _SOURCES.joinpath(path).read_text(encoding="utf-8")


@functools.cache
def _bzl() -> dict[str, list[str]]:
    return {path: bzl_loads(path, _read(path)) for path in _paths(".bzl", "tools", "third_party")}


def _without_tests(graph: Graph) -> dict[str, list[str]]:
    return {
        path: [target for target in targets if not _is_test(target)]
        for path, targets in graph.items()
        if not _is_test(path)
    }


_GRAPHS: dict[str, Callable[[], dict[str, list[str]]]] = {
    "tools": lambda: _python("tools", "third_party"),
    "backend": lambda: _python("backend/app", root="backend"),
    "bzl": _bzl,
}


@pytest.mark.parametrize("name", _GRAPHS)
def test_no_files_depend_on_each_other_in_a_circle(name: str) -> None:
    graph = _GRAPHS[name]()
    assert sum(len(targets) for targets in graph.values()) > 20
    assert circles(graph) == []


@pytest.mark.parametrize("name", _GRAPHS)
def test_no_folders_depend_on_each_other_in_a_circle(name: str) -> None:
    folders = by_folder(_without_tests(_GRAPHS[name]()))
    assert [
        f"{source} → {target}"
        for circle in circles(folders)
        for source in circle
        for target in sorted(folders[source] & set(circle))
    ] == []


@pytest.mark.parametrize("name", ["tools", "bzl"])
def test_no_folder_depends_on_a_later_level(name: str) -> None:
    folders = by_folder(_without_tests(_GRAPHS[name]()))
    assert uphill(folders, _LEVELS) == []


def test_the_machinery_does_not_know_the_product() -> None:
    loads = [f"{path} → {target}" for path, targets in _bzl().items() for target in targets]
    assert [edge for edge in loads if "→ backend/" in edge] == []
    files = {*_paths(".py", "tools", "third_party"), *_paths(".py", "backend")}
    for path in _paths(".py", "tools"):
        imported = python_imports(path, _read(path), root="backend", files=files)
        assert [target for target in imported if target.startswith("backend/")] == [], path


# The checks themselves.

_FILES = {
    "tools/a/one.py": "from tools.b import two\n",
    "tools/b/two.py": "def late():\n    import tools.c.three\n",
    "tools/c/three.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
    "    from tools.a.one import name\n",
    "tools/c/four.py": "from . import three\nfrom .three import name\nimport os\n",
}


def test_late_and_relative_imports_count() -> None:
    graph = {
        path: python_imports(path, text, root="", files=set(_FILES))
        for path, text in _FILES.items()
    }
    assert graph["tools/c/four.py"] == ["tools/c/three.py"]
    assert circles(graph) == [["tools/a/one.py", "tools/b/two.py", "tools/c/three.py"]]
    assert circles(by_folder(graph)) == [["tools/a", "tools/b", "tools/c"]]


def test_imports_are_found_below_another_root_and_in_packages() -> None:
    files = {"backend/app/db.py", "backend/app/api/__init__.py", "backend/app/api/page.py"}
    text = "from app import db\nfrom app.api import page, router\n"
    assert python_imports("backend/app/main.py", text, root="backend", files=files) == sorted(files)


def test_loads_are_found_by_every_form_of_a_label() -> None:
    text = (
        'load(":near.bzl", "a")\nload("//tools/apt:defs.bzl", "b")\n'
        'load("@pinned_image//tools/oci:defs.bzl", "c")\n'
        'load("@rules_python//python:defs.bzl", "d")\n'
        'load(\n    "//tools/image:long.bzl",\n    "e",\n)\n'
    )
    assert bzl_loads("tools/x/x.bzl", text) == [
        "tools/apt/defs.bzl",
        "tools/image/long.bzl",
        "tools/oci/defs.bzl",
        "tools/x/near.bzl",
    ]


def test_an_edge_uphill_and_an_unknown_folder_are_named() -> None:
    folders = {"a": {"b"}, "b": {"a", "c"}, "c": set[str]()}
    assert uphill(folders, [{"a"}, {"b"}]) == ["c has no level", "a → b"]


def test_a_loose_file_is_a_folder_of_its_own() -> None:
    assert folder("tools/cli.py") == "tools/cli.py"
    assert folder("tools/apt/index.py") == "tools/apt"
    assert folder("backend/app/db.py") == "backend/app/db.py"
    assert folder("backend/app/api/page.py") == "backend/app/api"
