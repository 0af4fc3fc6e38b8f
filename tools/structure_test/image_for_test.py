"""An image with a file of every kind, and helpers to write tests of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.image.images_for_test import Member, directory, hard_link, link

CONFIG: dict[str, Any] = {
    "User": "app",
    "WorkingDir": "/app",
    "Env": ["PATH=/bin", "NAME=world", "EMPTY="],
    "Entrypoint": ["/bin/false"],
    "Cmd": ["sleep", "9"],
    "ExposedPorts": {"8000/tcp": {}},
    "Volumes": {"/app/data": {}},
    "Labels": {"version": "1.2.3"},
}
TEXT = "first line\nsecond line\n"
FILES = [
    directory("opt/d", 0o1777, 5, 6),
    Member("opt/run", b"#!/bin/sh\n", mode=0o750, uid=7, gid=8),
    Member("opt/text", TEXT.encode()),
    link("opt/link", "text"),
    link("opt/far", "/opt/link"),
    link("opt/nowhere", "missing"),
    hard_link("opt/same", "opt/text"),
    Member("usr/share/doc/good/copyright", b"Licence: GPL\n"),
    Member("usr/share/doc/libgnutls30/copyright", b"mentions AGPL\n"),
    link("usr/share/doc/alias", "good"),
]

Run = Callable[..., list[str]]


def command(script: str, **fields: object) -> dict[str, Any]:
    test = {"name": "t", "command": "sh", "args": ["-c", script], **fields}
    return {"commandTests": [test]}


def existence(path: str, **fields: object) -> dict[str, Any]:
    return {"fileExistenceTests": [{"name": "t", "path": path, **fields}]}
