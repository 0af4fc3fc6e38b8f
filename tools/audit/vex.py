"""OpenVEX statements that people commit → what they answer, and whether each still holds.

A statement is about vulnerabilities of a component that is inside a package:

    {"vulnerability": {"name": "CVE-2022-0778"},
     "products": [{"@id": "pkg:pypi/opencv-python-headless",
                   "subcomponents": [{"@id": "pkg:generic/openssl@1.1.1k"}]}],
     "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path",
     "status_notes": "Tested by backend/tests/image/opencv_io_test.py::test_…"}

`status_notes` names the tests that prove it. A statement whose test is gone, or whose component has
left the locks, is an error: it would go on answering for something that nobody checks.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from packageurl import PackageURL
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from tools.audit.findings import Component, Finding
from tools.cli import ToolError

_CONTEXT = "https://openvex.dev/ns/v0.2.0"
# What must stand behind a statement; others say only that somebody looks into it.
_NEEDS_TEST = ("not_affected",)
_TEST = re.compile(r"(?P<file>[\w./-]+\.py)::(?P<name>test_\w+)")

_Text = Annotated[str, StringConstraints(pattern=r"\S")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Vulnerability(_Model):
    name: _Text


class _Subcomponent(_Model):
    id: _Text = Field(alias="@id")


class _Product(_Model):
    id: _Text = Field(alias="@id")
    subcomponents: tuple[_Subcomponent, ...] = ()


class Statement(_Model):
    """One statement, with the fields of OpenVEX 0.2.0 that are used here."""

    vulnerability: _Vulnerability
    products: Annotated[tuple[_Product, ...], Field(min_length=1)]
    status: Literal["not_affected", "affected", "fixed", "under_investigation"]
    justification: (
        Literal[
            "component_not_present",
            "vulnerable_code_not_present",
            "vulnerable_code_not_in_execute_path",
            "vulnerable_code_cannot_be_controlled_by_adversary",
            "inline_mitigations_already_exist",
        ]
        | None
    ) = None
    impact_statement: _Text | None = None
    action_statement: _Text | None = None
    status_notes: _Text | None = None
    timestamp: _Text | None = None

    @property
    def targets(self) -> tuple[tuple[str, str], ...]:
        """The pairs of product and subcomponent that it is about; "" for the product itself."""
        return tuple(
            (product.id, part)
            for product in self.products
            for part in ([each.id for each in product.subcomponents] or [""])
        )


class _Document(_Model):
    context: Literal["https://openvex.dev/ns/v0.2.0"] = Field(alias="@context")
    id: _Text = Field(alias="@id")
    author: _Text
    timestamp: _Text
    version: Annotated[int, Field(ge=1, strict=True)]
    role: _Text | None = None
    last_updated: _Text | None = None
    tooling: _Text | None = None
    statements: Annotated[tuple[Statement, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Vex:
    """The statements of one document."""

    path: Path
    statements: tuple[Statement, ...]


def read_vex(path: Path) -> Vex:
    """Return the statements in `path`. Raise ToolError naming the file, the place and the cause."""
    try:
        document = _Document.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        causes = "; ".join(
            f"{': '.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise ToolError(f"{path}: is not OpenVEX as {_CONTEXT} has it: {causes}") from error
    except (OSError, ValueError) as error:
        raise ToolError(f"{path}: {error}") from error
    return Vex(path, document.statements)


def problems(vex: Vex, components: Sequence[Component], *, root: Path) -> list[str]:
    """Return a sentence for each statement that no longer holds; tests are files below `root`."""
    found: dict[str, list[str]] = {}
    for statement in vex.statements:
        for problem in _problems(statement, components, root):
            found.setdefault(problem, []).append(statement.vulnerability.name)
    return [
        f"{vex.path.name}: {names[0]}"
        + (f" and {len(names) - 1} more" if names[1:] else "")
        + f": {problem}"
        for problem, names in found.items()
    ]


def _problems(statement: Statement, components: Sequence[Component], root: Path) -> Iterator[str]:
    for product, part in statement.targets:
        if not any(_is_about(product, part, component) for component in components):
            inside = f" as a part of {product}" if part else ""
            yield f"{part or product} is not in the locks any more{inside}; drop the statement"
    if statement.status not in _NEEDS_TEST:
        return
    if not statement.justification and not statement.impact_statement:
        yield "not_affected without a justification or an impact_statement"
    tests = list(_TEST.finditer(statement.status_notes or ""))
    if not tests:
        yield "status_notes names no test that proves it (FILE.py::test_NAME)"
    for test in tests:
        if test["name"] not in _functions(root / test["file"]):
            yield f"its test {test[0]} is gone; write it again, or drop the statement"


@functools.cache
def _functions(path: Path) -> frozenset[str]:
    """Return the names of the functions of a file; none if there is no such file."""
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def answered(findings: Iterable[Finding], documents: Sequence[Vex]) -> list[Finding]:
    """Return the findings, with the reason in each one that a statement answers."""
    return [_answer(finding, documents) for finding in findings]


def _answer(finding: Finding, documents: Sequence[Vex]) -> Finding:
    for vex in documents:
        for statement in vex.statements:
            if (
                finding.kind == "vulnerability"
                and statement.vulnerability.name == finding.identifier
                and statement.status in ("not_affected", "fixed")
                and any(
                    _is_about(product, part, finding.component)
                    for product, part in statement.targets
                )
            ):
                reason = statement.justification or statement.impact_statement or statement.status
                return replace(finding, not_affected=f"{reason} ({vex.path.name})")
    return finding


def _is_about(product: str, part: str, component: Component) -> bool:
    if not part:
        return not component.parent and _matches(product, component.purl)
    if not component.parent or not _matches(part, component.purl):
        return False
    return PackageURL.from_string(product).name == component.parent


def _matches(stated: str, own: str) -> bool:
    """Return whether a package URL means a component: one without a version means every version."""
    left, right = PackageURL.from_string(stated), PackageURL.from_string(own)
    same = (left.type, left.namespace, left.name) == (right.type, right.namespace, right.name)
    return same and left.version in (None, right.version)
