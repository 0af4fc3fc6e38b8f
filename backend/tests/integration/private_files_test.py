"""Nobody but the service's user can read its files; and a DATA_DIR it cannot write is named."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import servers, unprivileged, web
from tests.support.servers import BACKEND, eventually, service_environment

from app.services.private import database_files, tighten

VIDEOS = "/api/v1/videos"
UVICORN = [sys.executable, "-m", "uvicorn", "main:app", "--port", "0"]
CELERY = [sys.executable, "-m", "celery", "-A", "app.worker", "worker", "--pool", "solo"]
ALEMBIC = [sys.executable, "-m", "alembic", "upgrade", "head"]
WORKER = [
    sys.executable,
    "-c",
    "import os; from app.worker import celery; open(os.environ['DATA_DIR'] + '/by-worker', 'w')",
]
KEYS = [sys.executable, "-m", "app.cli.keys", "create", "name"]


def readable_by_others(root: Path) -> list[str]:
    paths = [root, *root.rglob("*")]
    return [f"{path} {path.lstat().st_mode:o}" for path in paths
            if path.lstat().st_mode & 0o077 and not path.is_symlink()]  # fmt: skip


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_files_are_private_from_the_start_and_after_an_upgrade(clip: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with servers.api(data, log=tmp_path / "log") as (url, process):
        file = {"file": ("a.mp4", clip.read_bytes())}
        place = url + web.post(url + VIDEOS, files=file).headers["location"]
        eventually(lambda: web.get(place).json()["analysis"]["status"] == "done")
        analysis = web.get(place).json()["analysis"]["id"]
        found = web.get(f"{url}/api/v1/analyses/{analysis}/events").json()["events"]
        for name in (f"{place}/thumbnail?time=1", f"{url}/api/v1/events/{found[0]['id']}/clip"):
            assert web.get(name).status_code == 200
        begin = {"tus-resumable": "1.0.0", "upload-length": "9"}
        assert web.post(f"{url}/api/v1/uploads", headers=begin).status_code == 201
        process.kill()
    written = {path.relative_to(data).parts[0] for path in data.rglob("*") if path.is_file()}
    assert written == {
        "backend.db", "backend.db-shm", "backend.db-wal", "derived", "kept", "reserve", "uploads",
        "uploads.lock", "videos", "worker.lock",
    }  # fmt: skip
    assert readable_by_others(data) == []
    # As older versions left them; the locks have always been private.
    for path in (data, *data.rglob("*")):
        if path.suffix != ".lock":
            path.chmod(0o755 if path.is_dir() else 0o644)
    outside = tmp_path / "outside"
    outside.write_text("not the service's")
    outside.chmod(0o644)
    (data / "videos" / "link").symlink_to(outside)
    with servers.api(data, log=tmp_path / "log") as (url, _):
        assert web.get(place.replace(place.partition("/api")[0], url)).status_code == 200
        assert readable_by_others(data) == []
    assert outside.stat().st_mode & 0o777 == 0o644


def test_upgrade_pass_runs_once_and_again_after_a_crash(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    (folder / "ab").mkdir(parents=True)
    (folder / "ab" / "file").write_text("x")
    for _ in range(2):  # at first, or after a crash before the end
        folder.chmod(0o755)
        (folder / "ab" / "file").chmod(0o644)
        (folder / "ab").chmod(0o755)
        tighten(folder)
        assert readable_by_others(folder) == []
    (folder / "ab" / "file").chmod(0o644)
    tighten(folder)
    assert (folder / "ab" / "file").stat().st_mode & 0o777 == 0o644  # nothing was looked at
    tighten(tmp_path / "missing")


def test_database_files_are_those_of_sqlite() -> None:
    names = ["/d/b.db", "/d/b.db-wal", "/d/b.db-shm", "/d/b.db-journal"]
    assert database_files("sqlite:////d/b.db") == list(map(Path, names))
    for url in ("sqlite://", "postgresql+psycopg://host/name"):
        assert database_files(url) == []


@pytest.mark.parametrize(
    ("command", "made"),
    [(ALEMBIC, "backend.db"), (KEYS, "backend.db"), (WORKER, "by-worker")],
    ids=["alembic", "keys", "worker"],
)
def test_every_entry_point_writes_private_files(
    command: list[str], made: str, tmp_path: Path
) -> None:
    environment = service_environment(tmp_path, BROKER_URL="redis://127.0.0.1:1/0")
    subprocess.run(command, cwd=BACKEND, env=environment, check=False, capture_output=True)
    assert (tmp_path / made).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("command", "name", "kind", "cause"),
    [
        (UVICORN, "backend", "read-only", "Permission denied"),
        (UVICORN, "backend", "nowhere", "No such file or directory"),
        (UVICORN, "backend", "file", "Not a directory"),
        (CELERY, "worker", "file", "Not a directory"),
        (ALEMBIC, "alembic", "file", "Not a directory"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_data_dir_that_is_not_writable_is_named(
    command: list[str], name: str, kind: str, cause: str
) -> None:
    with servers.short_directory() as home:
        data = Path("/proc/nowhere") if kind == "nowhere" else home / "data"
        if kind == "read-only":
            for part in ("", "videos", "incoming", "derived", "kept", "uploads"):
                (data / part).mkdir()
            data.chmod(0o555)
        elif kind == "file":
            data.touch()
        finished = subprocess.run(
            [sys.executable, unprivileged.__file__, *command],
            cwd=BACKEND,
            env=service_environment(data, BROKER_URL="redis://127.0.0.1:1/0"),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if kind == "read-only":
            data.chmod(0o755)
    assert finished.returncode == 1
    lines = [line for line in finished.stderr.splitlines() if "DATA_DIR" in line]
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith(f"{name}: DATA_DIR: cannot write to '{data}")
    assert f": {cause}" in lines[0]
    assert f"Mount a volume at {data} that user " in lines[0]
    assert "Traceback" not in finished.stderr + finished.stdout
