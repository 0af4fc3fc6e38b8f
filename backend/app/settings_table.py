"""Prints every setting as a table: `python3 -m app.settings_table`.

With `--write FILE` the table replaces what stands between the two markers in that file; this is how
README.md gets its own.
"""

import argparse
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ByteSize, SecretStr

from app.settings import Settings

BEGIN = "<!-- settings: written by `python3 -m app.settings_table --write README.md` -->"
END = "<!-- end of settings -->"


def table() -> str:
    """Return the table in Markdown, one line per variable, in the order of the class."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [_row(name) for name in Settings.model_fields]
    return "\n".join(lines)


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    star = " *" if field.annotation in (SecretStr, SecretStr | None) else ""
    return f"| `{name.upper()}`{star} | {_shown(field.default)} | {field.description} |"


def _shown(default: Any) -> str:
    match default:
        case None | ():
            return "unset"
        case bool():
            return f"`{str(default).lower()}`"
        case timedelta():
            return f"`{default.total_seconds():g}`"
        case ByteSize():
            return f"`{default.human_readable(separator='').replace('.0', '')}`"
    return f"`{default}`"


def replaced(text: str) -> str:
    """Return `text` with the table between the markers. Raises ValueError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the markers are missing: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Print or write the table; 0 when done."""
    parser = argparse.ArgumentParser(prog="python3 -m app.settings_table", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write it into this file")
    target = parser.parse_args(arguments).write
    if target is None:
        sys.stdout.write(table() + "\n")
    else:
        text = replaced(target.read_text(encoding="utf-8"))
        target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
