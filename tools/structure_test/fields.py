"""Read YAML and JSON configurations strictly: every field known, every value of its type.

An unquoted YAML scalar keeps its text until the type of its field is known, so that `value: 1.10`
in a string field stays `1.10`, as it does in Go. A quoted one, like a string in JSON, is a string
only. Every problem of a file is reported with its line (in YAML), its field and the cause.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from tools.cli import ToolError

M = TypeVar("M", bound="StrictModel")
Location = tuple[int | str, ...]
Pair = tuple[yaml.Node, yaml.Node]  # A field of a mapping: its key and its value.

# Decimal only: YAML 1.1 would read 010 as eight.
_INTEGER = re.compile("[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile("(0|[1-9][0-9]{0,8})([.][0-9]{1,9})?")
_WORDS = dict.fromkeys(("true", "yes", "on", "y"), True) | dict.fromkeys(
    ("false", "no", "off", "n"), False
)
_TAGS = "tag:yaml.org,2002:"
_NULL = f"{_TAGS}null"
_MERGE = f"{_TAGS}merge"
_SHOWN = 200  # Characters of a bad value repeated in a message.


class ConfigError(ToolError):
    """A configuration is not what its schema allows. Each problem names file, field and cause."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Scalar(str):
    """A YAML scalar's text. A `plain` one is not quoted, so it may also be a number or truth value.

    `tag` is the type that YAML 1.1 gives it: "str", "int", "bool", "binary" and so on.
    """

    __slots__ = ("plain", "tag")

    def __new__(cls, text: str, *, plain: bool, tag: str) -> Self:
        """Make a scalar of a node's text."""
        scalar = super().__new__(cls, text)
        scalar.plain, scalar.tag = plain, tag
        return scalar

    plain: bool
    tag: str


def wanted(what: str, found: object) -> PydanticCustomError:
    """Return the error of a value that is not what its field wants."""
    shown = repr(found)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return PydanticCustomError(
        "wanted", "wanted {what}, found {found}", {"what": what, "found": shown}
    )


def _upstream(info: ValidationInfo) -> bool:
    """Whether the types of upstream's YAML parser count beside our own rules."""
    return info.context is not None and bool(info.context.get("upstream"))


def text(value: object, info: ValidationInfo) -> str:
    """Return a string field's value: an unquoted scalar of any type is one."""
    if not isinstance(value, str):
        raise wanted("a string", value)
    if isinstance(value, Scalar) and value.tag == "binary" and _upstream(info):
        raise wanted("a string", f"binary data {value}")
    return str(value)


def _is(value: object, tag: str, info: ValidationInfo) -> bool:
    """Whether a value is an unquoted scalar that may be of the type `tag`."""
    return isinstance(value, Scalar) and value.plain and (value.tag == tag or not _upstream(info))


def _integer(value: object, info: ValidationInfo) -> int:
    if _is(value, "int", info) and _INTEGER.fullmatch(str(value)):
        return int(str(value))
    # True is an int in Python.
    if not isinstance(value, int) or isinstance(value, bool):
        raise wanted("a whole number", value)
    return value


def _number(value: object) -> float:
    if isinstance(value, Scalar) and value.plain and _NUMBER.fullmatch(value):
        return float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise wanted("a number of at least 0", value)
    return float(value)


def _boolean(value: object, info: ValidationInfo) -> bool:
    if isinstance(value, bool):
        return value
    word = _WORDS.get(str(value).lower()) if _is(value, "bool", info) else None
    if word is None:
        raise wanted("true or false", value)
    return word


Text = Annotated[str, BeforeValidator(text)]
Name = Annotated[str, Field(min_length=1), BeforeValidator(text)]  # Mandatory, so never empty.
Texts = tuple[Text, ...]
Integer = Annotated[int, BeforeValidator(_integer)]
Integers = tuple[Integer, ...]
Number = Annotated[float, Field(ge=0), BeforeValidator(_number)]
Boolean = Annotated[bool, BeforeValidator(_boolean)]


class StrictModel(BaseModel):
    """A mapping of a configuration: its fields in camelCase, no others, null as if left out."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, validate_by_name=True
    )

    # What null means in fields where it is not the same as leaving them out.
    nulls: ClassVar[Mapping[str, object]] = {}

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, value: Any, info: ValidationInfo) -> Any:
        if info.context is None:  # Made by our own code, not read from a file.
            return value
        if not isinstance(value, dict):
            raise wanted("a mapping", value)
        known = {field.alias or name for name, field in cls.model_fields.items()}
        if info.context.get("json"):
            value = _spelled(value, known)
        for name in sorted(set(value) - known):
            raise PydanticCustomError(
                "unknown",
                "unknown field {quoted}; known are: {known}",
                {"name": name, "quoted": repr(name), "known": ", ".join(sorted(known))},
            )
        given = {key: cls.nulls.get(key) if item is None else item for key, item in value.items()}
        return {key: item for key, item in given.items() if item is not None}


@dataclass(frozen=True)
class Document:
    """A parsed file: its value, and the YAML node that tells where each part of it stands."""

    value: Any
    root: yaml.Node | None = None

    def line(self, location: Location) -> int:
        """Return the line of a part of the document; 0 in JSON, whose reader knows none."""
        node = self.root
        if node is None:
            return 0
        line = node.start_mark.line
        for part in location:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == part), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part]
                line = node.start_mark.line
        return line + 1

    def prefix(self, location: Location) -> str:
        """Return the beginning of a message about a part of the document."""
        line = self.line(location)
        return f"line {line}: " if line else ""


def _spelled(value: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """Return a JSON object with its fields spelled as in `known`, whatever the case of letters.

    So Go reads JSON, and upstream's own reports have fields like `SchemaVersion`.
    """
    spelling = {name.casefold(): name for name in known}
    return _unique([(spelling.get(name.casefold(), name), item) for name, item in value.items()])


def read(
    model: type[M],
    path: Path,
    *,
    check_version: Callable[[str], str],
    upstream: bool = False,
) -> M:
    """Read one file as `model`; raise ConfigError with everything its schema does not allow.

    `check_version` returns what is wrong with a schemaVersion, "" for nothing. With `upstream`,
    upstream's own parser must accept the value's types too.
    """
    document = load(path)
    if not isinstance(document.value, dict):
        raise ConfigError(f"{path}: wanted a mapping, found {document.value!r}")
    in_json = document.root is None
    context = {"upstream": upstream, "json": in_json}
    try:
        value = _spelled(document.value, {"schemaVersion"}) if in_json else document.value
        _check_version(value.get("schemaVersion"), document, check_version)
        return model.model_validate(value, context=context, by_alias=True, by_name=False)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        problems = sorted(
            error.errors(include_url=False), key=lambda each: document.line(_place(each))
        )
        raise ConfigError(*(_problem(path, document, each) for each in problems)) from None


def _check_version(version: object, document: Document, check: Callable[[str], str]) -> None:
    """Check the version first: in a file of another one every other field is wrong as well."""
    if version is not None and not isinstance(version, str):
        raise ConfigError(f"schemaVersion: wanted a string, found {version!r}")
    if problem := check(version or ""):
        raise ConfigError(f"{document.prefix(('schemaVersion',))}{problem}")


def _place(error: ErrorDetails) -> Location:
    """Return where an error is to be shown: an unknown field at its own line."""
    return (*error["loc"], error["ctx"]["name"]) if error["type"] == "unknown" else error["loc"]


def _problem(path: Path, document: Document, error: ErrorDetails) -> str:
    location, found = error["loc"], error["input"]
    fixed = {"missing": "is missing", "string_too_short": "is empty"}
    kinds = {"tuple_type": "a list", "dict_type": "a mapping"}
    if error["type"] in fixed:
        cause = fixed[error["type"]]
    elif error["type"] in kinds:
        cause = str(wanted(kinds[error["type"]], found))
    elif error["type"] == "literal_error":
        # An empty string is a choice that nobody needs to be told of.
        cause = str(wanted(error["ctx"]["expected"].removeprefix("'', "), found))
    else:
        cause = error["msg"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f": {part}" for part in location)
    where = f"{where.removeprefix(': ')}: " if where else ""
    return f"{path}: {document.prefix(_place(error))}{where}{cause}"


class _Loader(yaml.SafeLoader):
    """Unlike PyYAML, and as in YAML, an anchor may be given again and then names the new node."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)


def load(path: Path) -> Document:
    """Parse a .yaml, .yml or .json file; raise ConfigError naming the file."""
    try:
        content = path.read_text("utf-8")
        if path.suffix == ".json":
            return Document(json.loads(content, object_pairs_hook=_unique))
        if path.suffix in (".yaml", ".yml"):
            root = yaml.compose(content, _Loader)
            return Document(None if root is None else _value(root, {}), root)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    raise ConfigError(f"{path}: is not named .yaml, .yml or .json")


def _value(node: yaml.Node, seen: dict[int, Any]) -> Any:
    """Return a YAML node as lists, dictionaries and text; null is None, as nothing at all is."""
    line = node.start_mark.line + 1
    if id(node) in seen:
        if seen[id(node)] is node:
            raise ConfigError(f"line {line}: an alias refers to what it is part of")
        return seen[id(node)]
    seen[id(node)] = node
    value: Any
    if isinstance(node, yaml.MappingNode):
        node.value = list(_fields(node, seen).values())
        value = {key.value: _value(item, seen) for key, item in node.value}
    elif isinstance(node, yaml.SequenceNode):
        value = [_value(item, seen) for item in node.value]
    elif not isinstance(node, yaml.ScalarNode) or (node.style is None and node.tag == _NULL):
        value = None
    else:
        tag = node.tag.removeprefix(_TAGS)
        value = Scalar(node.value, plain=node.style is None, tag=tag)
    seen[id(node)] = value
    return value


def _fields(node: yaml.MappingNode, seen: dict[int, Any]) -> dict[str, Pair]:
    """Return a mapping's fields in the place of its merge keys (`<<`).

    As in upstream's parser (yaml.v2) fields count in the order of the file, so a field before a
    merge key is replaced by the merged one, and a mapping adds to one that stands there already.
    """
    fields: dict[str, Pair] = {}
    own: set[str] = set()
    for key, item in node.value:
        name = str(key.value)
        if key.tag == _MERGE:
            for source in _merged(item):
                _value(source, seen)  # Replaces its own merge keys; raises for a circle.
                for merged in source.value:
                    _add(fields, merged, seen)
        elif name in own:
            line = node.start_mark.line + 1
            raise ConfigError(f"the mapping at line {line} has the field {name!r} twice")
        else:
            own.add(name)
            _add(fields, (key, item), seen)
    return fields


def _merged(node: yaml.Node) -> list[yaml.MappingNode]:
    """Return the mappings that a merge key names, the most important one last."""
    mappings = []
    for each in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
        if not isinstance(each, yaml.MappingNode):
            line = each.start_mark.line + 1
            raise ConfigError(f"line {line}: '<<' wants a mapping or a list of mappings")
        mappings.append(each)
    return mappings


def _add(fields: dict[str, Pair], field: Pair, seen: dict[int, Any]) -> None:
    key, item = field
    before = fields.get(str(key.value))
    if before and isinstance(before[1], yaml.MappingNode) and isinstance(item, yaml.MappingNode):
        joined = _fields(before[1], seen)
        for each in _fields(item, seen).values():
            _add(joined, each, seen)
        item = yaml.MappingNode(
            item.tag, list(joined.values()), item.start_mark, item.end_mark, item.flow_style
        )
    fields[str(key.value)] = (key, item)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"a mapping has the field {name!r} twice")
    return dict(pairs)
