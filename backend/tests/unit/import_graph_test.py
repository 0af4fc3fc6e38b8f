"""The architecture of `app`: which layer imports which, no import cycles, few loose modules."""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from tests.support.servers import BACKEND

Graph = dict[str, set[str]]

# What each package may import from the others: dependencies point downhill only.
ALLOWED = {
    "connection": {"logs"},
    "sandbox": set[str](),
    "video": {"sandbox"},
    "models": set[str](),
    "services": {"models", "video", "sandbox", "db", "errors"},
    "worker": {"services", "models", "video", "sandbox", "db", "errors", "logs", "settings"},
    "api": {
        "worker", "services", "models", "video", "db", "errors", "logs", "settings", "connection",
        "",
    },
    "cli": {"services", "models", "db", "settings"},
}  # fmt: skip
MAX_LOOSE_MODULES = 6


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.AST, package: str) -> Iterable[str]:
    """Yield every name imported anywhere in a module, including inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            origin = ".".join(filter(None, (base, node.module)))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def import_graph(root: Path, package: str) -> Graph:
    """Return the modules of `package` below `root` and the modules each of them imports.

    Imports inside functions and under TYPE_CHECKING count. `from package import name` is an import
    of the submodule `name` if there is one, otherwise of the package itself.
    """
    paths = {module_name(path, root): path for path in sorted((root / package).rglob("*.py"))}
    graph: Graph = {}
    for name, path in paths.items():
        own_package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        targets = set[str]()
        for imported in imported_names(tree, own_package):
            known = imported if imported in paths else imported.rpartition(".")[0]
            if known in paths:
                targets.add(known)
        graph[name] = targets
    return graph


def find_cycle(graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """Return a cycle as a list of nodes that starts and ends with the same one, or None."""
    done = set[str]()

    def visit(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        for target in sorted(graph[node]):
            cycle = visit(target, [*path, node])
            if cycle is not None:
                return cycle
        done.add(node)
        return None

    for start in sorted(graph):
        cycle = visit(start, [])
        if cycle is not None:
            return cycle
    return None


def assert_acyclic(graph: Mapping[str, Iterable[str]]) -> None:
    cycle = find_cycle(graph)
    assert cycle is None, f"import cycle: {' → '.join(cycle or ())}"


def part_of(module: str) -> str:
    """Return the part of `app` that a module belongs to: a package or a loose module."""
    return ".".join(module.split(".")[1:2])


@pytest.fixture(scope="module")
def graph() -> Graph:
    return import_graph(BACKEND, "app")


def test_no_module_is_part_of_an_import_cycle(graph: Graph) -> None:
    assert len(graph) > 50
    assert_acyclic(graph)


def test_no_package_is_part_of_an_import_cycle(graph: Graph) -> None:
    packages: Graph = {part_of(name): set() for name in graph}
    for name, targets in graph.items():
        packages[part_of(name)] |= {part_of(target) for target in targets} - {part_of(name)}
    assert packages["api"]
    assert_acyclic(packages)


@pytest.mark.parametrize("package", ALLOWED)
def test_dependencies_between_packages_point_downhill(package: str, graph: Graph) -> None:
    allowed = ALLOWED[package] | {package}
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph.items()
        if part_of(name) == package
        for target in sorted(targets)
        if part_of(target) not in allowed
    ]
    assert wrong == []


def test_every_package_has_a_layering_rule_and_loose_modules_are_few() -> None:
    directories = {path.parent.name for path in BACKEND.glob("app/*/__init__.py")}
    assert directories == set(ALLOWED)
    loose = [path.stem for path in BACKEND.glob("app/*.py") if path.stem != "__init__"]
    assert len(loose) <= MAX_LOOSE_MODULES, loose


def write_package(root: Path, **modules: str) -> None:
    (root / "pack").mkdir()
    for name, text in {"__init__": "", **modules}.items():
        (root / "pack" / f"{name}.py").write_text(text)


@pytest.mark.parametrize(
    "imports_of_c",
    [
        "import pack.a",
        "from pack import a",
        "from pack.a import anything",
        "from . import a",
        "from .a import anything",
        "def later():\n    from pack import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pack.a import anything",
    ],
)
def test_an_import_cycle_is_reported_by_name(imports_of_c: str, tmp_path: Path) -> None:
    write_package(
        tmp_path,
        a="from pack import b",
        b="from pack.c import x",
        c=imports_of_c,
        d="import pack.a",
    )
    with pytest.raises(
        AssertionError, match=r"import cycle: pack\.a → pack\.b → pack\.c → pack\.a"
    ):
        assert_acyclic(import_graph(tmp_path, "pack"))


def test_shared_dependencies_are_not_a_cycle(tmp_path: Path) -> None:
    write_package(
        tmp_path, a="from pack import b, c", b="from pack import d", c="from pack import d", d=""
    )
    assert_acyclic(import_graph(tmp_path, "pack"))
