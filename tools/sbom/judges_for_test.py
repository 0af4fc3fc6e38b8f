"""Whether a document is what its format demands, by judges that are not ours."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
from ntia_conformance_checker import SbomChecker
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

_SCHEMA = "bom-1.6.SNAPSHOT.schema.json"
# What the checkers can find in SPDX 2 at all: BSI's fields are in SPDX 3 alone.
_STANDARDS = {"spdx2": ("ntia", "fsct3-min"), "spdx3": ("ntia", "fsct3-min", "bsi")}
# The one row that SPDX 2 has no field for.
_SPDX3_ONLY = "SBOM generation context (SBOM type) provided?"


def judge_cyclonedx(content: bytes) -> dict[str, Any]:
    """Hold a document against CycloneDX's own schema, with formats; returns it parsed."""
    document: dict[str, Any] = json.loads(content)
    folder = importlib.resources.files("cyclonedx") / "schema" / "_res"
    schemas = {
        name: json.loads((folder / name).read_text())
        for name in (_SCHEMA, "spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json")
    }
    registry = jsonschema_rs.Registry(
        [(f"http://cyclonedx.org/schema/{name}", schema) for name, schema in schemas.items()],
        draft=jsonschema_rs.Draft7,
    )
    validator = jsonschema_rs.Draft7Validator(
        schemas[_SCHEMA], registry=registry, validate_formats=True
    )
    errors = [
        f"{error.instance_path}: {error.message}" for error in validator.iter_errors(document)
    ]
    assert errors == []
    purls = [each["purl"] for each in document["components"] if "purl" in each]
    assert [PackageURL.from_string(each).to_string() for each in purls] == purls
    return document


def judge_spdx(file: Path) -> dict[str, Any]:
    """Hold a document, whose name ends in .spdx.json, against the rules of SPDX 2.3."""
    parsed = parse_file(str(file))
    messages = validate_full_spdx_document(parsed, "SPDX-2.3")
    assert [each.validation_message for each in messages] == []
    document: dict[str, Any] = json.loads(file.read_bytes())
    return document


def unmet(file: Path, spec: str) -> dict[str, list[str]]:
    """Return what the public checkers miss in a document of "spdx2" or "spdx3", by standard.

    With the components that they name. Rows that they call warnings or optional do not count.
    """
    found: dict[str, list[str]] = {}
    for standard in _STANDARDS[spec]:
        # SPDX 2 is validated by `judge_spdx`, once.
        checker = SbomChecker(str(file), validate=False, compliance=standard, sbom_spec=spec)
        missing = [
            f"{label}: {', '.join(ref for _, ref in refs)}"
            for label, refs in checker.all_components_without_info
            if refs
        ]
        rows = [
            row
            for row, met in checker.table_elements
            if not met and not row.endswith(("(Warning)", "(Optional)"))
        ]
        if spec == "spdx2":
            rows = [row for row in rows if row != _SPDX3_ONLY]
        else:
            rows += [] if checker.compliant else ["is not conformant"]
        messages = [each.validation_message for each in checker.validation_messages]
        found[standard] = [*checker.parsing_errors, *messages, *rows, *(missing if rows else [])]
    return {standard: rows for standard, rows in found.items() if rows}
