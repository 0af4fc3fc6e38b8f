"""Make the cluster at the first start, then become PostgreSQL.

    POSTGRES_PASSWORD_FILE=/run/secrets/postgres_password python3 start.py [postgres' arguments]

The cluster has a database `backend`, owned by a role `backend` that is no superuser and has this
password. It appears under its name only once it is complete, so a first start that is killed is
repeated by the next. Arguments go to the server, for instance `-c shared_buffers=1GB`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

APP = Path(__file__).resolve().parent
DATA = APP / "data"
SOCKETS = "/tmp"  # noqa: S108 - of this container alone
VARIABLE = "POSTGRES_PASSWORD_FILE"


class StartError(Exception):
    """The server cannot start; the message says why."""


def read_password() -> str:
    """Return the role's password. Raise StartError unless the file has exactly one line."""
    path = os.environ.get(VARIABLE)
    if not path:
        raise StartError(f"{VARIABLE} is not set; name a file with the password")
    try:
        password = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"{VARIABLE}: cannot read {path!r} ({error})") from error
    if not password or not password.isprintable():
        raise StartError(f"{VARIABLE}: {path!r} must have one line of printable characters")
    return password


def setup_statements(password: str) -> str:
    """Return what single-user mode is given: a statement a line."""
    quoted = password.replace("'", "''")
    return (
        f"SET standard_conforming_strings = on; CREATE ROLE backend LOGIN PASSWORD '{quoted}'\n"
        "CREATE DATABASE backend OWNER backend\n"
    )


def make_cluster(cluster: Path, *, password: str) -> None:
    """Make the cluster, with its database and role, under its name only once it is complete."""
    new = cluster.with_suffix(".new")
    if new.exists():
        shutil.rmtree(new)
    access = ["--username=postgres", "--auth-local=peer", "--auth-host=scram-sha-256"]
    kind = ["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
    _run(["initdb", f"--pgdata={new}", *access, *kind])
    single = ["postgres", "--single", "-D", str(new), "-c", "exit_on_error=true", "postgres"]
    _run(single, text=setup_statements(password))
    new.rename(cluster)
    directory = os.open(cluster.parent, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _run(command: list[str], *, text: str = "") -> None:
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise StartError(f"{command[0]} failed with exit code {done.returncode}; see above")


def main(arguments: list[str]) -> None:
    """Become the server; see the module docstring."""
    os.umask(0o077)
    cluster = DATA / "cluster"
    if not cluster.exists():
        make_cluster(cluster, password=read_password())
    options = {
        "hba_file": APP / "pg_hba.conf",
        "listen_addresses": "*",
        "unix_socket_directories": SOCKETS,
    }
    flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    command = ["postgres", "-D", str(cluster), *flags, *arguments]
    os.execvp(command[0], command)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (StartError, OSError) as error:
        sys.exit(f"start.py: {error}")
