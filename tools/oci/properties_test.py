"""What holds for any input: the JSON encoder, env expansion, and the text files of a macro."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tools.image import spec
from tools.oci.edits import NEWLINE_IN_ARGUMENT, merge_env, parse_arguments, parse_pairs

# Text that UTF-8 can carry.
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)
_NAMES = st.text("ABCab_0", min_size=1, max_size=4)
_PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="$\n"), max_size=8)
# Values with references in both spellings, next to anything else.
_VALUES = st.lists(
    _PLAIN | _NAMES.map("${}".format) | _NAMES.map("${{{}}}".format), max_size=4
).map("".join)


def _shuffled(value: Any, source: random.Random) -> Any:
    """The same value, its objects made in another order."""
    if isinstance(value, dict):
        items = [(key, _shuffled(each, source)) for key, each in value.items()]
        source.shuffle(items)
        return dict(items)
    return [_shuffled(each, source) for each in value] if isinstance(value, list) else value


@given(value=_JSON, seed=st.integers())
def test_equal_values_have_equal_bytes_that_read_back(value: Any, seed: int) -> None:
    data = spec.encode_json(value)
    assert spec.encode_json(_shuffled(value, random.Random(seed))) == data
    assert json.loads(data) == value
    assert spec.encode_json(json.loads(data)) == data
    # No white space outside of strings: what a second encoder would not have to agree upon.
    assert not re.search(rb"\s", re.sub(rb'"(\\.|[^"\\])*"', b"", data))


@given(base=st.dictionaries(_NAMES, _PLAIN), added=st.lists(st.tuples(_NAMES, _VALUES), max_size=6))
@settings(max_examples=200)
def test_env_expands_as_a_loop_over_a_dictionary_would(
    base: dict[str, str], added: list[tuple[str, str]]
) -> None:
    found = merge_env([f"{key}={value}" for key, value in base.items()], added)
    known = dict(base)
    for key, value in added:
        expanded = ""
        rest = value
        while rest:
            match = re.match(r"\$\{?([A-Za-z0-9_]+)\}?", rest)
            expanded += known.get(match[1], "") if match else rest[0]
            rest = rest[match.end() if match else 1 :]
        known[key] = expanded
    assert found == [f"{key}={value}" for key, value in known.items()]
    assert [entry.partition("=")[0] for entry in found][: len(base)] == list(base)


@given(base=st.dictionaries(_NAMES, _PLAIN), added=st.lists(st.tuples(_NAMES, _PLAIN), max_size=6))
def test_values_without_references_stay_as_they_are(
    base: dict[str, str], added: list[tuple[str, str]]
) -> None:
    found = merge_env([f"{key}={value}" for key, value in base.items()], added)
    assert dict(entry.split("=", 1) for entry in found) == {**base, **dict(added)}


@given(arguments=st.lists(_TEXT.filter(lambda text: NEWLINE_IN_ARGUMENT not in text)))
def test_arguments_survive_their_file(arguments: list[str]) -> None:
    # As text_files.bzl writes them.
    text = "".join(each.replace("\n", NEWLINE_IN_ARGUMENT) + "\n" for each in arguments)
    assert list(parse_arguments(text)) == arguments


@given(pairs=st.dictionaries(_NAMES, _PLAIN))
def test_pairs_survive_their_file(pairs: dict[str, str]) -> None:
    text = "".join(f"{key}={value}\n" for key, value in pairs.items())
    assert dict(parse_pairs(text, what="env")) == pairs
