"""The models of both schemas → JSON Schemas, for editors.

    tools/bazelw run //tools/structure_test:json_schema

Writes `container_structure_test.schema.json` and `image_test.schema.json` beside this file. They
describe files that are valid as YAML and as JSON: a string that looks like a number is quoted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from tools.cli import tool
from tools.structure_test.fields import StrictModel
from tools.structure_test.image_schema import ImageConfig
from tools.structure_test.schema import Config

FOLDER = "tools/structure_test"
SCHEMAS: dict[str, type[StrictModel]] = {
    "container_structure_test.schema.json": Config,
    "image_test.schema.json": ImageConfig,
}


class _Generator(GenerateJsonSchema):
    """Leave out titles, which would repeat each field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False, for every field."""
        del schema
        return False


def json_schema(model: type[StrictModel]) -> str:
    """Return the JSON Schema (2020-12) of a configuration."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


@tool("json_schema")
def main(argv: list[str] | None = None) -> None:
    """Write the schemas into the source tree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where (default: beside it)")
    flags = parser.parse_args(argv)
    # `bazel run` starts programs elsewhere and says where the sources are.
    root = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", ""))
    for name, model in SCHEMAS.items():
        (root / flags.folder / name).write_text(json_schema(model), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
