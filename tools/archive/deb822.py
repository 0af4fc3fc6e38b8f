"""Read Debian control data (deb822(5)): Packages, Release, control, sources and copyright files.

    for fields in paragraphs(text): print(fields["package"])

python-debian reads the same format and needs 40 s for the two indexes of a suite; this needs two.
Python 3.9 and the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tools.cli import ToolError


class ControlError(ToolError):
    """Control data that is not deb822; `number` is the line at fault, `line` its text."""

    def __init__(self, number: int, line: str, cause: str) -> None:
        super().__init__(f"line {number}: {cause}")
        self.number = number
        self.line = line


def paragraphs(text: str, *, last_wins: bool = False) -> Iterator[Mapping[str, str]]:
    """Yield each paragraph of `text` as field name (in lower case) to value.

    Continuation lines keep their line breaks and lose their first character. Field names are
    case-insensitive (deb822(5)), hence the lower case. Raise ControlError for a line that is
    neither a field nor a continuation, and for a field that is written twice, unless `last_wins`.
    """
    start = 1
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        more: dict[str, list[str]] = {}  # joined once: a field may have a million lines
        name = ""
        # Not splitlines(): a form feed or U+2028 in a value would begin a line, and a field.
        for number, line in enumerate(block.replace("\r\n", "\n").split("\n"), start):
            if line.startswith((" ", "\t")):
                if not name:
                    raise ControlError(
                        number, line, f"continuation line {line!r} comes before any field"
                    )
                more.setdefault(name, [fields[name]]).append(line[1:])
                continue
            if not line or line.startswith("#"):
                continue
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or " " in name or "\t" in name:
                raise ControlError(number, line, f"{line!r} is not a 'Name: value' line")
            if name in fields and not last_wins:
                raise ControlError(number, line, f"field {name!r} appears twice")
            fields[name] = value.strip()
            more.pop(name, None)
        for name, lines in more.items():
            fields[name] = "\n".join(lines)
        start += block.count("\n") + 2
        if fields:
            yield fields
