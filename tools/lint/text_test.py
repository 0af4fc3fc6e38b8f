"""Rules of style that ruff does not have: suppressions give a reason, prose has one arrow."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

_SOURCES = Path("../lint_sources").resolve()
_LINT = Path("tools/lint")

_SUPPRESSION = re.compile(r"#\s*noqa\b", re.IGNORECASE)
_GOOD_SUPPRESSION = re.compile(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \S.*")
_CODE = re.compile(r"`[^`]*`|<!--.*?-->")
_FENCE = re.compile(r"^\s*(```|~~~)")
_ASCII_ARROW = re.compile(r"-{1,2}>")


def suppressions(path: str, text: str) -> list[str]:
    """Return the suppressions that are not written as `# noqa: S101 - reason`."""
    if "noqa" not in text.lower():
        return []  # tokenizing takes time
    return [
        f"{path}:{number}: {comment}"
        for number, comment in comments(text)
        if (found := _SUPPRESSION.search(comment))
        and not _GOOD_SUPPRESSION.fullmatch(comment[found.start() :])
    ]


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and text of each comment; Starlark has the same tokens as Python."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def ascii_arrows(path: str, text: str) -> list[str]:
    """Return the lines of prose with `->` in them: what is not code, fenced, indented or quoted."""
    prose = _markdown(text) if path.endswith(".md") else _source(path, text)
    return [
        f"{path}:{number}: {line.strip()}"
        for number, line in prose
        if _ASCII_ARROW.search(_CODE.sub("", line))
    ]


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, line


def _source(path: str, text: str) -> Iterator[tuple[int, str]]:
    if any("#" in line and "->" in line for line in text.splitlines()):
        yield from comments(text)  # tokenizing takes time
    tree = ast.parse(text, path)
    found = [*_docstrings(tree), *(_documentation(tree) if path.endswith(".bzl") else [])]
    for node in found:
        for number, line in enumerate(str(node.value).splitlines(), start=node.lineno):
            if number == node.lineno or len(line) - len(line.lstrip()) < node.col_offset + 4:
                yield number, line


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and node.body and isinstance(node.body[0], ast.Expr):
            yield from _strings([node.body[0].value])


def _documentation(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the texts of `doc = …` and `…_DOC = …` in Starlark."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "doc":
            yield from _strings(ast.walk(node.value))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("_DOC"):
            yield from _strings([node.value])


def _strings(nodes: Iterable[ast.AST]) -> Iterator[ast.Constant]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node


def _read(*suffixes: str) -> dict[str, str]:
    found = {
        str(path.relative_to(_SOURCES)): path.read_text(encoding="utf-8")
        for path in sorted(_SOURCES.rglob("*"))
        if path.suffix in suffixes or (path.name == "bazelw" and ".py" in suffixes)
    }
    assert len(found) > 5
    return found


def test_every_suppression_names_its_rule_and_its_reason() -> None:
    assert [line for path, text in _read(".py").items() for line in suppressions(path, text)] == []


@pytest.mark.parametrize("suffix", [".bzl", ".md", ".py"])
def test_prose_has_one_arrow(suffix: str) -> None:
    found = [line for path, text in _read(suffix).items() for line in ascii_arrows(path, text)]
    assert found == []


def test_the_linters_settings_name_tests_that_exist() -> None:
    for name in ("README.md", "mypy.ini", "ruff.toml"):
        text = _SOURCES.joinpath(_LINT, name).read_text(encoding="utf-8")
        targets = re.findall(r"//tools/lint:(\w+)", text)
        assert targets, name
        for target in targets:
            assert _SOURCES.joinpath(_LINT, f"{target}.py").exists(), f"{name}: {target}"


# The checks themselves.


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa",
        "# noqa: S101",
        "# noqa: S101 -- two dashes",
        "# noqa: S101 (brackets)",
        "#noqa: S101 - no space",
        "# a reason first # noqa: S101",
        "# noqa: S101,S102 - no space between",
    ],
)
def test_another_form_of_suppression_is_found(comment: str) -> None:
    assert suppressions("x.py", f"x = 1  {comment}\n") == [f"x.py:1: {comment}"]


def test_a_suppression_with_its_reason_is_accepted_and_a_string_is_none() -> None:
    text = "x = '# noqa'  # noqa: S101, PLR2004 - as the standard has it\n"
    assert suppressions("x.py", text) == []


def test_an_arrow_is_found_in_prose_and_not_in_code() -> None:
    text = '''\
"""Index -> lock.

    lock: Index -> Lock
"""

def f() -> str:  # in -> out
    """Turn `a -> b` into a result.

        f() -> "x -> y"

    And -> more.
    """
    return "x -> y"
'''
    assert ascii_arrows("x.py", text) == [
        "x.py:6: # in -> out",
        "x.py:1: Index -> lock.",
        "x.py:11: And -> more.",
    ]


def test_an_arrow_is_found_in_the_documentation_of_a_rule() -> None:
    text = 'x = attr.string_dict(\n    doc = "Path -> its " +\n          "target.",\n)\n'
    assert ascii_arrows("x.bzl", text) == ["x.bzl:2: Path -> its"]


def test_an_arrow_is_found_in_a_readme_and_not_in_its_code() -> None:
    text = "a -> b\n\n    c -> d\n\n```mermaid\nx --> y\n```\n\n`e -> f` g --> h\n<!-- i -->\n"
    assert ascii_arrows("x.md", text) == ["x.md:1: a -> b", "x.md:9: `e -> f` g --> h"]
