"""Hand-written YAML → pydantic models, with errors that name the file, the place and the cause.

    class Group(Model):
        packages: dict[str, Text]

    groups = read_yaml(path, TypeAdapter(dict[str, Group]))

Unknown keys and keys written twice are errors. `<<: *anchor` merges shared entries in.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from tools.cli import ToolError

T = TypeVar("T")
_SHOWN_CHARACTERS = 80

# Text that somebody wrote: a name, a reason.
Text = Annotated[str, StringConstraints(pattern=r"\S")]


class Model(BaseModel):
    """The base of models of hand-written files: immutable, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Loader(yaml.SafeLoader):
    """YAML's safe subset; a key written twice is an error instead of the last one winning."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - PyYAML's signature
    ) -> dict[Any, Any]:
        # What a merge brings in may be overridden.
        keys = [
            self.construct_object(key, deep=True)
            for key, _ in node.value
            if key.tag != "tag:yaml.org,2002:merge"
        ]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"written twice: {', '.join(twice)}", node.start_mark
            )
        return dict(super().construct_mapping(node, deep=deep))


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raise ToolError naming the file."""
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ToolError(f"{path}: {error}") from error


def validate(data: Any, adapter: TypeAdapter[T], *, path: Path) -> T:
    """Return `data`, read from `path`, as the adapter's type. Raise ToolError with every cause."""
    try:
        return adapter.validate_python(data)
    except ValidationError as error:
        causes = "; ".join(_cause(dict(each)) for each in error.errors())
        raise ToolError(f"{path}: {causes}") from error


def read_yaml(path: Path, adapter: TypeAdapter[T]) -> T:
    """Return the content of a YAML file as the adapter's type. Raise ToolError."""
    return validate(load_yaml(path), adapter, path=path)


def _cause(error: dict[str, Any]) -> str:
    place = ": ".join(str(part) for part in error["loc"]) or "the file"
    message = error["msg"].removeprefix("Value error, ")
    cause = f"{place}: {message[:1].lower()}{message[1:]}"
    # A missing key's "input" is what surrounds it, and our own validators quote what they refuse.
    if error["type"] in ("missing", "value_error", "extra_forbidden"):
        return cause
    found = repr(error["input"])
    return f"{cause}, found {found[:_SHOWN_CHARACTERS]}"
