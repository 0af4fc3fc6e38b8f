"""What postgres/start.py refuses, and asks of PostgreSQL; compose_test starts the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from deploy.postgres import start


def test_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(start.VARIABLE, raising=False)
    with pytest.raises(start.StartError, match="POSTGRES_PASSWORD_FILE is not set; name a file"):
        start.read_password()


def test_unreadable_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(start.VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(start.StartError, match=r"cannot read '.*/missing' \(.*No such file"):
        start.read_password()


@pytest.mark.parametrize("text", ["", "\n", "two\nlines\n", "a\0b"])
def test_password_that_is_no_line_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "password"
    path.write_text(text)
    monkeypatch.setenv(start.VARIABLE, str(path))
    with pytest.raises(start.StartError, match="must have one line of printable characters"):
        start.read_password()


def test_password_ends_before_the_newline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("s3cret\r\n")
    monkeypatch.setenv(start.VARIABLE, str(path))
    assert start.read_password() == "s3cret"


def test_quotes_in_a_password_stay_inside_the_statement() -> None:
    create, database = start.setup_statements("a'; DROP ROLE x; --\\").splitlines()
    assert create.endswith("PASSWORD 'a''; DROP ROLE x; --\\'")
    assert database == "CREATE DATABASE backend OWNER backend"


def test_failing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(start.StartError, match="false failed with exit code 1; see above"):
        start._run(["false"])
