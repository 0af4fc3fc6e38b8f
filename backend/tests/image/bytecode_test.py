"""Everything the service's commands import has been compiled ahead: no start compiles anything."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# The tests run with the image's own interpreter.
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def _compiled_now(output: str) -> set[str]:
    """Return the sources that Python compiled, according to its verbose output."""
    sources = re.findall(r"^# code object from '(/\S+\.py)'", output, re.MULTILINE)
    # Configuration files, which are never compiled ahead.
    return set(sources) - {
        f"/etc/{_PYTHON}/sitecustomize.py",
        f"/usr/lib/{_PYTHON}/sitecustomize.py",
    }


# With it the API imports more.
_SIGN_IN = {
    "GOOGLE_CLIENT_ID": "films",
    "GOOGLE_CLIENT_SECRET": "x",
    "GOOGLE_EDITORS": "films.example",
    "PUBLIC_URL": "https://films.example",
}


def _run_verbosely(command: list[str], *, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **environment, "PYTHONVERBOSE": "1"},
        cwd="/app",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stderr


def test_every_module_imported_by_the_services_commands_has_bytecode(
    tmp_path: Path,
) -> None:
    broker = {"REDIS_URL": "redis://127.0.0.1:1/0", "DATA_DIR": str(tmp_path)}
    postgres = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "DATA_DIR": str(tmp_path)}
    found: dict[str, set[str]] = {}
    for command, environment in (
        (["python3", "-m", "app.healthcheck"], {}),
        (["alembic", "upgrade", "head"], {"DATA_DIR": str(tmp_path)}),
        (["alembic", "current"], postgres),
        (["celery", "-A", "app.worker", "report"], broker),
        (["celery", "-A", "app.worker", "inspect", "ping", "--timeout", "0.1"], broker),
    ):
        output = _run_verbosely(command, environment=environment)
        assert f"code object from '/usr/lib/{_PYTHON}/" in output, f"{command}: {output[-2000:]}"
        found[" ".join(command)] = _compiled_now(output)
    assert {command: names for command, names in found.items() if names} == {}


def test_api_starts_without_compiling_anything(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "PYTHONVERBOSE": "1", **_SIGN_IN}
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            ["uvicorn", "main:app", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd="/app",
            stdout=sink,
            stderr=sink,
        ) as server,
    ):
        try:
            assert _health_status(port) == http.client.OK
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    output = log.read_text(encoding="utf-8", errors="replace")
    assert "code object from '/app/" in output
    assert "import 'authlib'" in output
    assert _compiled_now(output) == set()


def _health_status(port: int) -> int | None:
    """Return the status of /health, or None if nothing listens for 30 s."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    return None
