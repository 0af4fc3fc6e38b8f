"""Reads YAML and JSON configurations strictly: every field known, every value of its type.

An unquoted YAML scalar keeps its text until a field says what it wants, so that `value: 1.10` in a
string field stays `1.10`, as it does in Go. A quoted one, like a string in JSON, is a string only.
Unknown and repeated fields are errors that name the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")
# Decimal only: YAML 1.1 would read 010 as eight.
_INTEGER = re.compile("[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile("(0|[1-9][0-9]{0,8})([.][0-9]{1,9})?")
TRUE = ("true", "yes", "on", "y")
FALSE = ("false", "no", "off", "n")
NULL = ("", "~", "null")


class ConfigError(Exception):
    """A configuration is not what the schema allows; names the file and the field."""


class Plain(str):
    """An unquoted YAML scalar: text that may also be read as a number, a truth value or null."""

    __slots__ = ()


class _Loader(yaml.BaseLoader):
    """Leaves scalars as text and refuses mappings that repeat a key."""

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        """Marks what is not quoted; null is None, as nothing at all is."""
        text = super().construct_scalar(node)
        if node.style is not None:
            return text
        return None if text.lower() in NULL else Plain(text)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 (PyYAML's signature)
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise ConfigError(f"the mapping at line {line} has the field {key!r} twice")
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Reader:
    """A mapping being read. `where` names it in messages; each method takes one field."""

    where: str
    values: dict[str, Any]
    used: set[str] = field(default_factory=set)

    def fail(self, key: str, problem: str) -> ConfigError:
        """An error about one field, to be raised by the caller."""
        return ConfigError(f"{self.where}: {key}: {problem}")

    def has(self, key: str) -> bool:
        """Whether the field is given at all."""
        self.used.add(key)
        return key in self.values

    def string(self, key: str, default: str | None = None) -> str:
        """A string; mandatory without a default."""
        value = self._take(key)
        if value is None:
            if default is None:
                raise self.fail(key, "is missing")
            return default
        if not isinstance(value, str):
            raise self.fail(key, f"wanted a string, found {value!r}")
        if default is None and not value:
            raise self.fail(key, "is empty")
        return value

    def integer(self, key: str, default: int) -> int:
        """A whole number."""
        value = self._take(key)
        if value is None:
            return default
        number = as_integer(value)
        if number is None:
            raise self.fail(key, f"wanted a whole number, found {value!r}")
        return number

    def number(self, key: str, default: float | None) -> float | None:
        """A number, possibly with a fraction, not negative."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, Plain) and _NUMBER.fullmatch(value):
            value = float(value)
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise self.fail(key, f"wanted a number of at least 0, found {value!r}")
        return float(value)

    def boolean(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._take(key)
        if value is None:
            return default
        word = str(value).lower()
        if not isinstance(value, bool | Plain) or word not in TRUE + FALSE:
            raise self.fail(key, f"wanted true or false, found {value!r}")
        return word in TRUE

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; empty when it is not given."""
        values = self._list(key, self._take(key))
        numbers = tuple(number for item in values if (number := as_integer(item)) is not None)
        if len(numbers) != len(values):
            raise self.fail(key, f"wanted a list of whole numbers, found {values!r}")
        return numbers

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty when it is not given."""
        return self._strings(key, self._take(key))

    def string_lists(self, key: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of strings."""
        return tuple(self._strings(key, item) for item in self._list(key, self._take(key)))

    def string_map(self, key: str) -> dict[str, str]:
        """A mapping of strings to strings."""
        value = self._take(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self.fail(key, f"wanted a mapping of strings, found {value!r}")
        return dict(value)

    def items(self, key: str, read: Callable[[Reader], T]) -> tuple[T, ...]:
        """A list of mappings, each read by `read` to its last field."""
        entries = []
        for number, value in enumerate(self._list(key, self._take(key))):
            entries.append(read_mapping(f"{self.where}: {key}[{number}]", value, read))
        return tuple(entries)

    def item(self, key: str, read: Callable[[Reader], T]) -> T | None:
        """One mapping; None when it is not given."""
        value = self._take(key)
        return None if value is None else read_mapping(f"{self.where}: {key}", value, read)

    def finish(self) -> None:
        """Raises ConfigError when a field was given that nobody asked for."""
        unknown = sorted(set(self.values) - self.used)
        if unknown:
            known = ", ".join(sorted(self.used))
            raise ConfigError(f"{self.where}: unknown field {unknown[0]!r}; known are: {known}")

    def _take(self, key: str) -> Any:
        self.used.add(key)
        return self.values.get(key)

    def _list(self, key: str, value: Any) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.fail(key, f"wanted a list, found {value!r}")
        return value

    def _strings(self, key: str, value: Any) -> tuple[str, ...]:
        values = self._list(key, value)
        for item in values:
            if not isinstance(item, str):
                raise self.fail(key, f"wanted strings, found {item!r}")
        return tuple(values)


def as_integer(value: Any) -> int | None:
    """A JSON number or an unquoted YAML one as a whole number; None when it is none."""
    if isinstance(value, Plain) and _INTEGER.fullmatch(value):
        return int(value)
    # True is an int in Python.
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_mapping(where: str, value: Any, read: Callable[[Reader], T]) -> T:
    """Applies `read` to a mapping and makes sure that it used every field."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: wanted a mapping, found {value!r}")
    reader = Reader(where, value)
    result = read(reader)
    reader.finish()
    return result


def load(path: Path) -> Any:
    """Parses a .yaml, .yml or .json file. Raises ConfigError naming the file."""
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_unique)
        if path.suffix in (".yaml", ".yml"):
            return yaml.load(text, _Loader)  # noqa: S506 (BaseLoader makes plain text only)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    raise ConfigError(f"{path}: is not named .yaml, .yml or .json")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"a mapping has the field {name!r} twice")
    return dict(pairs)
