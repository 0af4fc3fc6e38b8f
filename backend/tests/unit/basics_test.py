"""Ids, times, errors, logs, start-up, and process limits."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite
from tests.support.servers import BACKEND, service_environment

from app.errors import AppError
from app.logs import JsonFormatter, request_id
from app.models.base import UtcDateTime, new_id


def run(
    program: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python program that imports the service; its output is kept, its exit code allowed."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=BACKEND,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def output_of(program: str, environment: Mapping[str, str] | None = None) -> str:
    """Return what a program prints that must succeed."""
    finished = run(program, environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_ids_are_version_7_and_sort_by_time() -> None:
    made = [new_id() for _ in range(1000)]
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert made == sorted(set(made))
    assert abs((made[-1].int >> 80) / 1000 - time.time()) < 5


def test_stored_times_are_timezone_aware_and_utc() -> None:
    column = UtcDateTime()
    paris = timezone(timedelta(hours=1))
    stored = column.process_bind_param(datetime(2026, 1, 1, 12, tzinfo=paris), sqlite.dialect())
    assert stored == datetime(2026, 1, 1, 11, tzinfo=UTC)
    naive = datetime(2026, 1, 1, 11)  # noqa: DTZ001 - as returned by SQLite
    assert column.process_result_value(naive, sqlite.dialect()) == stored
    with pytest.raises(ValueError, match="has no timezone"):
        column.process_bind_param(naive, sqlite.dialect())


def test_error_class_without_a_status_is_rejected() -> None:
    with pytest.raises(TypeError, match="must define status"):

        class ForgetfulError(AppError):
            title = "x"


def test_log_record_is_one_line_of_json() -> None:
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


def test_only_the_database_module_commits() -> None:
    for path in sorted(BACKEND.joinpath("app").rglob("*.py")):
        if path.name != "db.py":
            assert ".commit(" not in path.read_text(encoding="utf-8"), path


def test_api_starts_without_importing_heavy_libraries(tmp_path: Path) -> None:
    program = (
        "import sys, main; print(sorted({'cv2', 'numpy', 'celery', 'redis', 'kombu', 'alembic', "
        "'prometheus_client', 'authlib', 'cryptography'} "
        "& set(sys.modules)))"
    )
    assert output_of(program, service_environment(tmp_path)) == "[]"


def test_process_that_runs_analyses_starts_without_pydantic() -> None:
    program = (
        "import sys, app.worker.child; print(sorted({'pydantic', 'pydantic_core', 'fastapi', "
        "'starlette', 'celery', 'alembic', 'cv2', 'numpy'} & set(sys.modules)))"
    )
    assert output_of(program) == "[]"


def test_only_fastapis_models_of_openapi_are_built_when_they_are_used(tmp_path: Path) -> None:
    program = (
        "import main, fastapi.openapi.models, app.api.schemas; "
        "print([model.__pydantic_complete__ "
        "for model in (fastapi.openapi.models.OpenAPI, app.api.schemas.VideoOut)])"
    )
    assert output_of(program, service_environment(tmp_path)) == "[False, True]"


@pytest.mark.parametrize("statement", ["import main", "from app.worker import celery"])
def test_invalid_setting_exits_with_a_message(statement: str, tmp_path: Path) -> None:
    finished = run(statement, service_environment(tmp_path, MAX_UPLOAD_BYTES="lots"))
    assert finished.returncode == 1
    assert "MAX_UPLOAD_BYTES: invalid value 'lots'" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_invalid_setting_is_reported_before_the_application_is_loaded(tmp_path: Path) -> None:
    program = (
        "import atexit, sys; "
        "atexit.register(lambda: print({'fastapi', 'app.api', 'app.worker'} & set(sys.modules))); "
        "import main"
    )
    finished = run(program, service_environment(tmp_path, LEASE="no"))
    assert (finished.returncode, finished.stdout.strip()) == (1, "set()")
    assert finished.stderr.startswith("backend: LEASE: invalid value 'no': ")


def test_importing_the_worker_package_does_not_load_celery(tmp_path: Path) -> None:
    program = (
        "import sys, app.worker; print('celery' in sys.modules, hasattr(app.worker, 'other'));"
        "from app.worker import celery; print(type(celery).__name__, celery is app.worker.celery)"
    )
    assert output_of(
        program, service_environment(tmp_path, BROKER_URL="redis://127.0.0.1:1/0")
    ).splitlines() == ["False False", "Celery True"]


def test_confined_process_hits_its_own_memory_limit() -> None:
    program = (
        "from app.worker.confine import confine; confine(memory=300 << 20); "
        "kept = bytearray(50 << 20)\n"
        "try: bytearray(400 << 20)\n"
        "except MemoryError: print('rejected', len(kept) >> 20)"
    )
    assert output_of(program) == "rejected 50"


def test_worker_without_a_broker_names_the_setting(tmp_path: Path) -> None:
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
