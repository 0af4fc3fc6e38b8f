"""The README's table of settings is the settings."""

from datetime import timedelta

from pydantic import SecretStr
from tests.support.servers import BACKEND

from app.settings import Settings


def row(name: str) -> str:
    """Return the line that describes one setting."""
    field = Settings.model_fields[name]
    star = " *" if field.annotation == (SecretStr | None) else ""
    default = field.default
    if isinstance(default, timedelta):
        default = f"{default.total_seconds():g}"
    shown = "unset" if default is None else f"`{str(default).lower()}`"
    return f"| `{name.upper()}`{star} | {shown} | {field.description} |"


def test_the_table_of_settings_is_complete_and_true() -> None:
    text = (BACKEND / "README.md").read_text(encoding="utf-8")
    section = text.split("## Settings")[1].split("## ")[0]
    found = [line for line in section.splitlines() if line.startswith("| `")]
    assert found == [row(name) for name in Settings.model_fields]
