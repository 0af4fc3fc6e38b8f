"""The settings table of the README."""

import pytest
from tests.support.servers import BACKEND

from app.cli import settings_table
from app.settings import Settings


def test_settings_table_is_up_to_date() -> None:
    text = (BACKEND / "README.md").read_text(encoding="utf-8")
    assert settings_table.replace_table(text) == text, (
        "run `python3 -m app.cli.settings_table --write README.md` in backend/"
    )


def test_every_setting_is_listed_with_its_default() -> None:
    lines = settings_table.table().splitlines()[2:]
    assert len(lines) == len(Settings.model_fields)
    assert "| `LEASE` | `30` |" in settings_table.table()
    assert "| `MAX_UPLOAD_BYTES` | `2GiB` |" in settings_table.table()
    assert "| `AUTO_MIGRATE` | `true` |" in settings_table.table()
    assert "| `DATABASE_URL` * | unset |" in settings_table.table()
    assert not any("None" in line for line in lines)


def test_file_without_markers_is_rejected() -> None:
    with pytest.raises(ValueError, match="markers not found"):
        settings_table.replace_table("nothing here")
