"""Read who imports or loads whom: sources → a graph of files, and the circles in it.

Function-level imports and those for type checkers count: a circle that only a late import hides is
still a circle for readers of the code.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

Graph = Mapping[str, Collection[str]]

# Generated .bzl text inside a string begins a line in the same way, and counts.
_LOAD = re.compile(r'^load\(\s*"([^"]+)"', re.MULTILINE)
_OWN_REPOSITORY = re.compile(r"^@{0,2}(pinned_image)?//")


def python_imports(path: str, text: str, *, root: str, files: Collection[str]) -> list[str]:
    """Return the files that a Python file imports.

    `root` is the directory of the absolute imports, relative to the workspace: "" or "backend".
    """
    found = set()
    for module in _modules(ast.parse(text, path), package=posixpath.dirname(path), root=root):
        found.update(_files_of(module, files) - {path})
    return sorted(found)


def _files_of(stem: str, files: Collection[str]) -> set[str]:
    # `from package import name`: the module of that name, else what the package itself defines.
    parent = posixpath.dirname(stem)
    for candidate in (f"{stem}.py", f"{stem}/__init__.py", f"{parent}.py", f"{parent}/__init__.py"):
        if candidate in files:
            return {candidate}
    return set()


def _modules(tree: ast.AST, *, package: str, root: str) -> Iterator[str]:
    """Yield what is imported, as paths without a suffix; a name in a module looks like a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield posixpath.join(root, *name.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = posixpath.join(package, *[".."] * (node.level - 1)) if node.level else root
            base = posixpath.normpath(posixpath.join(base, *(node.module or "").split(".")))
            for name in node.names:
                yield posixpath.join(base, name.name)


def bzl_loads(path: str, text: str) -> list[str]:
    """Return the .bzl files of this workspace that a .bzl file loads."""
    found = set()
    for label in _LOAD.findall(text):
        local = _OWN_REPOSITORY.sub("//", label)
        if local.startswith("//"):
            package, _, name = local[2:].partition(":")
            found.add(posixpath.join(package, name))
        elif local.startswith(":"):
            found.add(posixpath.join(posixpath.dirname(path), local[1:]))
    return sorted(found)


def by_folder(graph: Graph) -> dict[str, set[str]]:
    """Return the graph of the folders of a graph of files, without the edges inside a folder."""
    folders: dict[str, set[str]] = {}
    for path, targets in graph.items():
        own = folder(path)
        edges = folders.setdefault(own, set())
        edges.update({folder(target) for target in targets} - {own})
    return folders


def folder(path: str) -> str:
    """Return the folder that a file belongs to: two levels below the top, three below `backend`.

    A file that lies above that level is a folder of its own.
    """
    parts = path.split("/")
    depth = 3 if parts[0] == "backend" else 2
    return "/".join(parts[:depth])


def circles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components with more than one node, sorted (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            start = stack.index(node)
            component = sorted(stack[start:])
            del stack[start:]
            if len(component) > 1:
                found.append(component)

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found)


def uphill(folders: Graph, levels: Iterable[Collection[str]]) -> list[str]:
    """Return the edges that lead from a folder to one of a later level, and folders without one."""
    level = {name: number for number, names in enumerate(levels) for name in names}
    problems = [f"{name} has no level" for name in sorted(folders) if name not in level]
    problems += [
        f"{source} → {target}"
        for source in sorted(folders)
        for target in sorted(folders[source])
        if source in level and target in level and level[target] > level[source]
    ]
    return problems
