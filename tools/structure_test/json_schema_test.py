"""The committed JSON Schemas are current, and agree with the reader on files people write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tools.structure_test import json_schema
from tools.structure_test.configs_for_test import FULL, IMAGE, REFUSED

COMMAND = "tools/bazelw run //tools/structure_test:json_schema"


def schema(name: str) -> Any:
    return json.loads((Path(json_schema.__file__).parent / name).read_text("utf-8"))


@pytest.mark.parametrize("name", json_schema.SCHEMAS)
def test_a_committed_schema_is_what_the_models_give(name: str) -> None:
    committed = (Path(json_schema.__file__).parent / name).read_text("utf-8")
    current = json_schema.json_schema(json_schema.SCHEMAS[name])
    assert committed == current, f"{name} is out of date; run {COMMAND}"


def test_the_command_writes_into_the_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(tmp_path))
    (tmp_path / json_schema.FOLDER).mkdir(parents=True)
    assert json_schema.main([]) == 0
    for name, model in json_schema.SCHEMAS.items():
        written = (tmp_path / json_schema.FOLDER / name).read_text("utf-8")
        assert written == json_schema.json_schema(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [("container_structure_test.schema.json", FULL), ("image_test.schema.json", IMAGE)],
)
def test_a_full_configuration_is_valid(name: str, value: Any) -> None:
    jsonschema_rs.validate(schema(name), value)


@pytest.mark.parametrize(("change", "cause"), REFUSED)
def test_the_schema_refuses_what_the_reader_refuses(change: dict[str, Any], cause: str) -> None:
    value = {"schemaVersion": "2.0.0", **change}
    assert not jsonschema_rs.is_valid(schema("container_structure_test.schema.json"), value)
