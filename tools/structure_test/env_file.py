r"""The file of `containerRunOptions.envFile` → variables, as upstream's tool reads it.

Upstream uses godotenv 1.5.1, whose format this is:

    NAME = value             # blanks around both are dropped, and so is a comment after a blank
    export NAME: "value"     # the same name; a colon does as well
    NAME='as it $stands'     # nothing is replaced between single quotes
    NAME="a\nb ${OTHER}"     # \n, \r and earlier variables of this file are replaced

Quoted values may span lines. Oddities of that parser are kept where a file can show them: in an
unquoted value the comment begins at the last ` #`, and `$(NAME` is read like `$NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tools.cli import ToolError

# Go's unicode.IsSpace; godotenv has a list of its own inside a line.
_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_BLANK = "\t\v\f\r \x85\xa0"
_COMMENT = re.compile(f"(?s:.*)[{_BLANK}]#")
_ESCAPE = re.compile(r"\\(.)")
_BACKSLASH = re.compile(r"\\([^$])")
_INVALID = re.compile("[\udc80-\udcff]")  # Bytes that are not UTF-8, as surrogate escapes.
_VARIABLE = re.compile(r"(\\)?\$\(?\{?([A-Z0-9_]+)?\}?")


def parse_env_file(data: bytes) -> dict[str, str]:
    """Return the variables of a file; raise ToolError, without any value, with the line.

    A variable without a value is left out, as upstream leaves it out. In quotes, bytes that
    are not UTF-8 are kept, as surrogate escapes.
    """
    text = data.replace(b"\r\n", b"\n").decode("utf-8", "surrogateescape")
    found: dict[str, str] = {}
    position = 0
    while (position := _next_statement(text, position)) < len(text):
        name, start = _name(text, position)
        found[name], position = _value(text, start, found)
    return {name: value for name, value in found.items() if name and value}


def _next_statement(text: str, position: int) -> int:
    """Return where the next variable begins, after space and comments."""
    while True:
        position = _skip(text, position, _SPACE)
        if not text.startswith("#", position):
            return position
        position = _line_end(text, position, "\n")


def _name(text: str, position: int) -> tuple[str, int]:
    """Return the name at `position` and where its value begins."""
    after = position + len("export")
    if text.startswith("export", position) and _skip(text, after, _BLANK) > after:
        position = _skip(text, after, _BLANK)
    for end in range(position, len(text)):
        character = text[end]
        if character in "=:":
            return text[position:end].rstrip(_SPACE), _skip(text, end + 1, _BLANK)
        if not all(map(_in_name, character.encode("utf-8", "surrogateescape").decode("latin-1"))):
            raise ToolError(
                f"line {_line(text, end)}: unexpected character {character!r} in a variable's name"
            )
    if position == len(text):
        raise ToolError(f"line {_line(text, position)}: a name is missing after 'export'")
    # The end of the file is a name alone: to upstream a value without a name, which is left out.
    return "", position


def _in_name(character: str) -> bool:
    """Return whether a name may contain a byte, which is judged as if it were a character."""
    return character.isalnum() or character in "_." or character in _BLANK


def _value(text: str, start: int, found: Mapping[str, str]) -> tuple[str, int]:
    """Return the value that begins at `start`, and where the next variable may begin."""
    quote = text[start : start + 1]
    if quote not in ("'", '"'):
        end = _line_end(text, start, "\n\r")
        line = _INVALID.sub("\ufffd", text[start:end])
        comment = _COMMENT.match(line)
        value = line[: comment.end() - 1] if comment else line
        return _expand(value.strip(_BLANK), found), end
    end = start
    while (end := text.find(quote, end + 1)) >= 0:
        if text[end - 1] == "\\":
            continue
        value = text[start:end].strip(quote)
        return _expand(_unescape(value), found) if quote == '"' else value, end + 1
    raise ToolError(f"line {_line(text, start)}: a quoted value has no end")


def _unescape(value: str) -> str:
    letters = {"n": "\n", "r": "\r"}
    return _BACKSLASH.sub(r"\1", _ESCAPE.sub(lambda m: letters.get(m[1], m[0]), value))


def _expand(value: str, found: Mapping[str, str]) -> str:
    """Replace variables of the same file; an unknown one is empty."""

    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return match[0][1:]
        return found.get(match[2], "") if match[2] else match[0]

    return _VARIABLE.sub(replaced, value)


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position


def _line_end(text: str, position: int, ends: str) -> int:
    while position < len(text) and text[position] not in ends:
        position += 1
    return position


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
