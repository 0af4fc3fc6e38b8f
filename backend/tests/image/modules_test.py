"""Every module of every installed wheel imports, and what the service starts is compiled."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import distributions
from pathlib import Path

_PACKAGES = "/usr/local/lib/python3.11/dist-packages"

# Distributions that nobody installed. A module may ask for one of these and for nothing else.
_OPTIONAL = """IPython aiohttp asyncssh azure babel botocore cryptography django google greenlet
    gunicorn itsdangerous librabbitmq lingua pybreaker pygments pymongo pyperclip pytest trio
    twisted watchfiles websockets wsproto zttp zuvloop"""

# What fails otherwise; a name that imports after all is an error too.
_EXCUSED = {
    "want an optional distribution, and say so in words of their own": """fastapi.__main__
        fastapi.templating fastapi.testclient kombu.transport.confluentkafka psycopg._dns
        psycopg.types.shapely starlette.templating starlette.testclient""",
    "are run with python3 -m": "numpy.f2py.__main__",
    "are executed by the package itself, not imported": "cv2.config cv2.config-3 cv2.cv2",
    "are patterns for new projects": """alembic.templates.async.env alembic.templates.generic.env
        alembic.templates.multidb.env alembic.templates.pyproject.env
        alembic.templates.pyproject_async.env""",
}

# In a process of its own: importing everything changes much.
_IMPORT = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
failed = {}
for name in json.load(sys.stdin):
    try:
        importlib.import_module(name)
    except BaseException as error:
        wanted = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
        failed[name] = [wanted.partition(".")[0], f"{type(error).__name__}: {error}"]
print("\\n" + json.dumps(failed))
"""


def _installed_modules() -> set[str]:
    """Return the dotted name of each file in a RECORD that can be imported."""
    modules = set()
    for distribution in distributions(path=[_PACKAGES]):
        for file in distribution.files or ():
            # numpy.libs and the like hold libraries, not modules.
            if not all(part.isidentifier() for part in file.parts[:-1]):
                continue
            for suffix in (*EXTENSION_SUFFIXES, ".py"):
                if file.name.endswith(suffix):
                    parts = [*file.parts[:-1], file.name.removesuffix(suffix)]
                    modules.add(".".join(parts).removesuffix(".__init__"))
                    break
    return modules


def test_every_module_of_every_wheel_imports() -> None:
    modules = _installed_modules()
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT],
        input=json.dumps(sorted(modules)),
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    failed = json.loads(done.stdout.splitlines()[-1])
    optional = set(_OPTIONAL.split())
    excused = {name for names in _EXCUSED.values() for name in names.split()}
    wrong = {
        name: cause
        for name, (wanted, cause) in failed.items()
        if wanted not in optional and name not in excused
    }
    assert wrong == {}
    assert excused - failed.keys() == set(), "they import, so they need no excuse"
    assert optional - {wanted for wanted, _ in failed.values()} == set(), "nothing asks for them"
    assert len(modules) > 1500, "or too little was tried"


def _compiled_now(output: str) -> set[str]:
    """Return the sources that Python had to compile, from what it says when it is verbose."""
    sources = re.findall(r"^# code object from '(/\S+\.py)'", output, re.MULTILINE)
    # Configuration, which is never compiled ahead.
    return set(sources) - {
        "/etc/python3.11/sitecustomize.py",
        "/usr/lib/python3.11/sitecustomize.py",
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


def test_the_interpreter_finds_bytecode_for_all_that_the_services_commands_import(
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
        assert "code object from '/usr/lib/python3.11/" in output, f"{command}: {output[-2000:]}"
        found[" ".join(command)] = _compiled_now(output)
    assert {command: names for command, names in found.items() if names} == {}


def test_the_api_starts_without_compiling_anything(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "PYTHONVERBOSE": "1"}
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
            assert _answer(port) == http.client.OK
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    output = log.read_text(encoding="utf-8", errors="replace")
    assert "code object from '/app/" in output
    assert _compiled_now(output) == set()


def _answer(port: int) -> int | None:
    """Return the status of /health, or None when nothing listens for half a minute."""
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
