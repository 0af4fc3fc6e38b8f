"""System files and databases that programs expect, in the image."""

import ctypes.util
import mimetypes
import os
import pwd
import re
import socket
import ssl
import subprocess
import sys
import zoneinfo
from pathlib import Path

import pytest

# No dangling symlink is expected.
_DANGLING: set[str] = set()
_NOT_THE_IMAGE = ("/dev", "/proc", "/sys", "/srv", "/app/tests", "/tmp")
# Import psycopg where no program can be started: neither ldconfig nor gcc nor ld.
_WITHOUT_PROGRAMS = """
import subprocess
def refuse(*arguments, **options):
    raise FileNotFoundError(arguments)
subprocess.Popen = refuse
import ctypes.util
assert ctypes.util.find_library("pq") is None
from app.db import make_engine
engine = make_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
print(engine.dialect.dbapi.pq.__impl__, engine.dialect.dbapi.pq.version())
"""


def test_no_symlink_is_dangling() -> None:
    dangling = set()
    for directory, names, files in os.walk("/"):
        names[:] = [
            name
            for name in names
            if not f"{directory}/{name}".replace("//", "/").startswith(_NOT_THE_IMAGE)
        ]
        for name in (*names, *files):
            path = Path(directory, name)
            if path.is_symlink() and not path.exists():
                dangling.add(str(path))
    assert dangling == _DANGLING


def test_process_runs_as_the_images_user() -> None:
    assert pwd.getpwuid(os.getuid()).pw_name == "appuser"
    assert os.getgroups() in ([], [1000])


def test_public_certificate_authorities_are_trusted() -> None:
    context = ssl.create_default_context()
    assert context.cert_store_stats()["x509_ca"] > 100
    known = str(context.get_ca_certs())
    assert "ISRG Root X1" in known
    assert "DigiCert Global Root G2" in known


def test_every_timezone_loads() -> None:
    zones = zoneinfo.available_timezones()
    assert {"Europe/Berlin", "America/New_York", "Asia/Tokyo", "UTC"} <= zones
    assert len(zones) > 450
    for name in zones:
        assert zoneinfo.ZoneInfo.no_cache(name).key == name


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", "video/mp4"),
        ("a.mkv", "video/matroska"),
        ("a.webm", "video/webm"),
        ("a.mov", "video/quicktime"),
        ("a.avi", "video/x-msvideo"),
        ("a.jpg", "image/jpeg"),
        ("a.png", "image/png"),
    ],
)
def test_media_types_come_from_the_system(name: str, kind: str) -> None:
    # Python's own table lacks Matroska and, in older versions, WebM. Debian 12 has Matroska as it
    # was before its registration.
    kinds = {(kind, None), (kind.replace("/matroska", "/x-matroska"), None)}
    assert mimetypes.MimeTypes(["/etc/mime.types"]).guess_type(name) in kinds
    assert mimetypes.guess_type(name) in kinds


def test_service_host_and_protocol_names_resolve() -> None:
    assert socket.getservbyname("https", "tcp") == 443
    assert socket.getprotobyname("tcp") == socket.IPPROTO_TCP
    assert socket.gethostbyname("localhost") == "127.0.0.1"


def test_psycopg_finds_libpq() -> None:
    assert ctypes.util.find_library("pq") == "libpq.so.5"
    program = "import psycopg; print(psycopg.pq.__impl__, psycopg.pq.version())"
    assert _python(program).startswith(f"python {_libpq_major()}")


def test_service_finds_libpq_without_running_any_program() -> None:
    assert _python(_WITHOUT_PROGRAMS).startswith(f"python {_libpq_major()}")


def _libpq_major() -> str:
    status = Path("/var/lib/dpkg/status.d/libpq5").read_text(encoding="utf-8")
    found = re.search(r"(?m)^Version: (\d+)\.", status)
    assert found, status
    return found[1]


def _python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/app"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
