"""The parts of Go's standard library that define the schema's semantics, in Python.

Regular expressions are RE2's; `os.Expand` and `os.FileMode.String` follow the documentation of Go's
package os, since configurations contain their results.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import re2

from tools.cli import ToolError
from tools.image.tree import Entry

# Positions in Go's os.FileMode letters "dalTLDpSugct?"; only these can come from an archive.
_TYPE_LETTERS = {"dir": "d", "symlink": "L", "block": "D", "char": "D", "fifo": "p"}
_NAME = re.compile("[A-Za-z0-9_]+")
_SPECIAL = "*#$@!?-0123456789"


class PatternError(ToolError):
    """A regular expression is invalid in RE2."""


def search(pattern: str, text: str) -> bool:
    """Return whether the pattern occurs in the text; raise PatternError for an invalid one.

    As in Go, `.` does not match a newline and `^` and `$` mean the whole text unless `(?m)`.
    """
    options = re2.Options()
    options.log_errors = False
    # Invalid UTF-8 has been replaced, as Go prints it.
    try:
        return re2.compile(pattern, options).search(text) is not None
    except re2.error as error:
        raise PatternError(f"the regular expression {pattern!r} is invalid: {error}") from error


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace every `$name` and `${name}`, unknown ones by nothing (os.Expand)."""
    out: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0 and dollar + 1 < len(text):
        out.append(text[position:dollar])
        name, width = _shell_name(text[dollar + 1 :])
        if name:
            out.append(env.get(name, ""))
        elif width == 0:
            out.append("$")  # Not followed by a name: an ordinary character.
        position = dollar + 1 + width
    out.append(text[position:])
    return "".join(out)


def _shell_name(text: str) -> tuple[str, int]:
    """Return the name at the start of `text` and its length; "" for bad syntax."""
    if text[0] == "{":
        if len(text) > 2 and text[1] in _SPECIAL and text[2] == "}":
            return text[1], 3
        end = text.find("}")
        if end < 0:
            return "", 1
        return ("", 2) if end == 1 else (text[1:end], end + 1)
    if text[0] in _SPECIAL:
        return text[0], 1
    name = _NAME.match(text)
    return (name[0], name.end()) if name else ("", 0)


def file_mode(entry: Entry) -> str:
    """Return os.FileMode.String() of a member: `-rw-r--r--`, `dtrwxrwxrwx`, `Lrwxrwxrwx`."""
    letters = _TYPE_LETTERS.get(entry.kind, "")
    if entry.mode & 0o4000:
        letters += "u"
    if entry.mode & 0o2000:
        letters += "g"
    if entry.kind == "char":
        letters += "c"
    if entry.mode & 0o1000:
        letters += "t"
    bits = "".join(
        letter if entry.mode >> (8 - index) & 1 else "-" for index, letter in enumerate("rwxrwxrwx")
    )
    return (letters or "-") + bits
