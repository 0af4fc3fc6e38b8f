"""A predicate, such as an SBOM, and an image → an in-toto statement of the predicate about it.

statement_of --image LAYOUT --predicate app.spdx.json --type spdxjson --out statement.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.attest.statement import make_statement, parse_object, type_of
from tools.cli import tool
from tools.image.layout import open_layout


@tool("statement_of")
def main(argv: list[str] | None = None) -> None:
    """Write the statement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--image", type=Path, required=True, help="OCI layout of an image or an index")
    add("--predicate", type=Path, required=True, help="JSON document about the image")
    add("--type", required=True, help="cosign's short name of its type, or the type's URI")
    add("--name", default="", help="what the statement calls the image")
    add("--out", type=Path, required=True, help="statement to write")
    flags = parser.parse_args(argv)
    subjects = {open_layout(flags.image).root.digest: flags.name}
    predicate = parse_object(flags.predicate.read_bytes())
    flags.out.write_bytes(make_statement(subjects, type_of(flags.type), predicate))


if __name__ == "__main__":
    sys.exit(main())
