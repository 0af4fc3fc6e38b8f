"""Reads Debian control data (deb822(5)): Packages, Release and control files.

python-debian reads the same format and needs 40 s for the two indexes of a suite; this needs
two, because it keeps only what was asked for.
"""

from collections.abc import Iterator, Mapping

from tools.cli import ToolError


class ControlError(ToolError):
    """Control data that is not deb822; the message quotes the line."""


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """Yield each paragraph of `text` as field name (in lower case) to value.

    Continuation lines keep their line breaks and lose their first character. Field names are
    case-insensitive (deb822(5)), hence the lower case. Raises ControlError for a line that is
    neither a field nor a continuation and for a field that is written twice.
    """
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith((" ", "\t")):
                if not name:
                    raise ControlError(f"continuation line {line!r} comes before any field")
                fields[name] += "\n" + line[1:]
                continue
            if not line or line.startswith("#"):
                continue
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or name in fields:
                raise ControlError(f"line {line!r} is not a new field")
            fields[name] = value.strip()
        if fields:
            yield fields
