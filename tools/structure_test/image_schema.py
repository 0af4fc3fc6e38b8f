"""The configuration of `image_test`: what container_structure_test has no words for.

A file of its own, so that every file given to container_structure_test is one that upstream's
tool accepts. Times are seconds.

    schemaVersion: image_test/1
    healthcheckTests: [{name: becomes healthy, within: 60, interval: 1}]
    entrypointTests: [{name: answers, waitForPort: 8000, requests: [{path: /health}]}]
    invariants: {noSetId: true, worldWritable: [/tmp], uids: [0, 1000], maxLayers: 10}
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.structure_test.fields import ConfigError, Reader, load, read_mapping

VERSION = "image_test/1"
EXPECTATIONS = ("healthy", "unhealthy")
DEFAULT_WITHIN = 120.0
DEFAULT_GRACE = 10.0
HTTP_OK = 200
RESTRICTED_INTERVAL = 0.5  # Between the probes of invariants, whatever the image's own is.


@dataclass(frozen=True)
class Start:
    """How the image is started, where it is not as its configuration says.

    `env` adds to its environment, `command` replaces its command, `user` its user (a number needs
    no account). With `read_only_root` nothing can be written but what `writable` names: directories
    that start empty, as volumes do.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    user: str = ""
    read_only_root: bool = False
    writable: tuple[str, ...] = ()


@dataclass(frozen=True)
class HealthcheckTest:
    """Starts the image and runs its own healthcheck until it is decided.

    `interval` replaces the image's interval and start interval, so that a test need not wait;
    its timeout, retries and start period stay the image's.
    """

    name: str
    expect: str
    within: float
    interval: float | None
    start: Start = Start()


@dataclass(frozen=True)
class Request:
    """A GET request and what its answer must be; `body` are patterns."""

    path: str
    status: int
    body: tuple[str, ...]


@dataclass(frozen=True)
class EntrypointTest:
    """Starts the image's command, talks to it, and stops it with a signal."""

    name: str
    port: int
    log: str
    within: float
    requests: tuple[Request, ...]
    signal: str
    grace: float
    exit_codes: tuple[int, ...]
    start: Start = Start()


@dataclass(frozen=True)
class Invariants:
    """What must hold for every file of the image, and how else it must start. None is unchecked.

    `restricted` are the image's own healthcheck under a read-only root and under another user.
    """

    no_set_id: bool
    world_writable: tuple[str, ...] | None
    uids: tuple[int, ...] | None
    gids: tuple[int, ...] | None
    forbidden: tuple[str, ...]
    max_bytes: int | None
    max_layers: int | None
    restricted: tuple[HealthcheckTest, ...] = ()


@dataclass(frozen=True)
class ImageConfig:
    """One configuration file."""

    source: str
    healthchecks: tuple[HealthcheckTest, ...] = ()
    entrypoints: tuple[EntrypointTest, ...] = ()
    invariants: Invariants | None = None


def read_image_config(path: Path) -> ImageConfig:
    """Reads one file. Raises ConfigError for everything that is not in this module."""
    return read_mapping(str(path), load(path), lambda reader: _config(reader, str(path)))


def _config(reader: Reader, source: str) -> ImageConfig:
    version = reader.string("schemaVersion", "")
    if version != VERSION:
        raise ConfigError(f"{source}: schemaVersion: wanted {VERSION}, found {version!r}")
    return ImageConfig(
        source=source,
        healthchecks=reader.items("healthcheckTests", _healthcheck),
        entrypoints=reader.items("entrypointTests", _entrypoint),
        invariants=reader.item("invariants", _invariants),
    )


def _healthcheck(reader: Reader) -> HealthcheckTest:
    expect = reader.string("expect", "healthy")
    if expect not in EXPECTATIONS:
        raise reader.fail("expect", f"wanted {' or '.join(EXPECTATIONS)}, found {expect!r}")
    return HealthcheckTest(
        name=reader.string("name"),
        expect=expect,
        within=reader.number("within", DEFAULT_WITHIN) or 0.0,
        interval=reader.number("interval", None),
        start=_start(reader),
    )


def _start(reader: Reader) -> Start:
    return Start(
        env=reader.string_map("env"),
        command=reader.strings("command"),
        user=reader.string("user", ""),
        read_only_root=reader.boolean("readOnlyRoot", default=False),
        writable=_directories(reader),
    )


def _directories(reader: Reader) -> tuple[str, ...]:
    paths = reader.strings("writable")
    for path in paths:
        if not path.startswith("/"):
            raise reader.fail("writable", f"wanted absolute paths, found {path!r}")
    return paths


def _entrypoint(reader: Reader) -> EntrypointTest:
    test = EntrypointTest(
        name=reader.string("name"),
        port=reader.integer("waitForPort", 0),
        log=reader.string("waitForLog", ""),
        within=reader.number("within", DEFAULT_WITHIN) or 0.0,
        requests=reader.items("requests", _request),
        signal=reader.string("signal", ""),
        grace=reader.number("grace", DEFAULT_GRACE) or 0.0,
        exit_codes=reader.integers("exitCodes") or (0,),
        start=_start(reader),
    )
    if not test.port and not test.log:
        raise reader.fail("waitForPort", "give it or waitForLog, or nothing tells when it is up")
    if test.requests and not test.port:
        raise reader.fail("requests", "need waitForPort, the port they go to")
    if test.signal and test.signal not in signal.Signals.__members__:
        raise reader.fail("signal", f"wanted a name like SIGTERM, found {test.signal!r}")
    return test


def _request(reader: Reader) -> Request:
    return Request(
        path=reader.string("path"),
        status=reader.integer("status", HTTP_OK),
        body=reader.strings("body"),
    )


def _invariants(reader: Reader) -> Invariants:
    def maximum(key: str) -> int | None:
        return reader.integer(key, 0) if reader.has(key) else None

    return Invariants(
        no_set_id=reader.boolean("noSetId", default=False),
        world_writable=reader.strings("worldWritable") if reader.has("worldWritable") else None,
        uids=reader.integers("uids") if reader.has("uids") else None,
        gids=reader.integers("gids") if reader.has("gids") else None,
        forbidden=reader.strings("forbidden"),
        max_bytes=maximum("maxBytes"),
        max_layers=maximum("maxLayers"),
        restricted=_restricted(reader),
    )


def _restricted(reader: Reader) -> tuple[HealthcheckTest, ...]:
    """What readOnlyRoot and arbitraryUid ask for: the image's healthcheck turns healthy there."""
    read_only = reader.boolean("readOnlyRoot", default=False)
    uid = reader.integer("arbitraryUid", 0) if reader.has("arbitraryUid") else None
    writable = _directories(reader)
    if uid is not None and uid <= 0:
        raise reader.fail("arbitraryUid", f"wanted a user that is not root, found {uid}")
    if writable and not read_only and uid is None:
        raise reader.fail("writable", "needs readOnlyRoot or arbitraryUid")
    tests = []
    if read_only:
        start = Start(read_only_root=True, writable=writable)
        tests.append(("works with a read-only root", start))
    if uid is not None:
        # Group 0, as OpenShift gives it to a user it makes up.
        tests.append((f"works as user {uid}", Start(user=f"{uid}:0", writable=writable)))
    return tuple(
        HealthcheckTest(name, "healthy", DEFAULT_WITHIN, RESTRICTED_INTERVAL, start)
        for name, start in tests
    )
