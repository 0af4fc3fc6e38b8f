"""Identifiers, times, errors, logs, and which modules know which."""

import ast
import json
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite
from tests.support.servers import BACKEND, service_environment

from app.errors import AppError
from app.logs import JsonFormatter, request_id
from app.models.base import UtcDateTime, new_id


def test_ids_are_version_7_and_sort_by_time() -> None:
    made = [new_id() for _ in range(1000)]
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert made == sorted(set(made))
    assert abs((made[-1].int >> 80) / 1000 - time.time()) < 5


def test_times_come_back_aware_and_in_utc() -> None:
    column = UtcDateTime()
    paris = timezone(timedelta(hours=1))
    stored = column.process_bind_param(datetime(2026, 1, 1, 12, tzinfo=paris), sqlite.dialect())
    assert stored == datetime(2026, 1, 1, 11, tzinfo=UTC)
    naive = datetime(2026, 1, 1, 11)  # noqa: DTZ001 - what SQLite hands back
    assert column.process_result_value(naive, sqlite.dialect()) == stored
    with pytest.raises(ValueError, match="has no time zone"):
        column.process_bind_param(naive, sqlite.dialect())


def test_an_error_without_a_status_cannot_be_defined() -> None:
    with pytest.raises(TypeError, match="must define status"):

        class ForgetfulError(AppError):
            title = "x"


def test_a_log_line_is_one_json_object() -> None:
    record = logging.LogRecord("app", logging.INFO, "f", 1, "video.stored", (), None)
    record.fields = {"video_id": "a\nb"}
    token = request_id.set("r1")
    try:
        text = JsonFormatter().format(record)
    finally:
        request_id.reset(token)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["event"], line["video_id"], line["request_id"]) == ("video.stored", "a\nb", "r1")


# What each part of the backend may import from the others: everything flows downhill.
ALLOWED = {
    "app/video": {"app.video"},
    "app/models": {"app.models"},
    "app/services": {
        "app.services", "app.models", "app.video", "app.db", "app.errors", "app.services.schema",
    },
    "app/api": {
        "app.api", "app.services", "app.models", "app.errors", "app.logs", "app.db",
        "app.settings", "app.video", "app",
    },
}  # fmt: skip


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_flow_downhill(folder: str) -> None:
    for path in sorted((BACKEND / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in (name for name in names if name.split(".")[0] == "app"):
                two = ".".join(name.split(".")[:2])
                assert two in ALLOWED[folder], f"{path} imports {name}"


def test_only_the_database_module_and_migrations_commit() -> None:
    for path in sorted(BACKEND.joinpath("app").rglob("*.py")):
        if path.name != "db.py":
            assert ".commit(" not in path.read_text(encoding="utf-8"), path


def test_starting_the_api_imports_neither_opencv_nor_celery(tmp_path: Path) -> None:
    program = (
        "import sys, main; print(sorted({'cv2', 'numpy', 'celery', 'redis', 'kombu', 'alembic', "
        "'prometheus_client'} "
        "& set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=BACKEND,
        env=service_environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["main", "app.worker"])
def test_a_wrong_setting_ends_the_start_with_a_sentence(module: str, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        cwd=BACKEND,
        env=service_environment(tmp_path, MAX_UPLOAD_BYTES="lots"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert "MAX_UPLOAD_BYTES: 'lots' cannot be used" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_confined_process_runs_out_of_its_own_memory_only() -> None:
    program = (
        "from app.worker.confine import confine; confine(memory=300 << 20); "
        "kept = bytearray(50 << 20)\n"
        "try: bytearray(400 << 20)\n"
        "except MemoryError: print('refused', len(kept) >> 20)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=BACKEND, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "refused 50"


def test_a_worker_without_a_broker_says_what_to_set(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "app.worker", "worker"],
        cwd=BACKEND,
        env=service_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode != 0
    assert "worker: REDIS_URL is not set" in finished.stderr
