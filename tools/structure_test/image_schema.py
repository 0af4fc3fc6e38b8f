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
from dataclasses import dataclass
from pathlib import Path

from tools.structure_test.fields import ConfigError, Reader, load, read_mapping

VERSION = "image_test/1"
EXPECTATIONS = ("healthy", "unhealthy")
DEFAULT_WITHIN = 120.0
DEFAULT_GRACE = 10.0
HTTP_OK = 200


@dataclass(frozen=True)
class HealthcheckTest:
    """Starts the image and runs its own healthcheck until it is decided.

    `interval` replaces the image's interval and start interval, so that a test need not wait;
    its timeout, retries and start period stay the image's. `command` replaces the image's
    command and `env` adds to its environment, to show that a broken one is noticed.
    """

    name: str
    expect: str
    within: float
    interval: float | None
    env: Mapping[str, str]
    command: tuple[str, ...]


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
    env: Mapping[str, str]
    command: tuple[str, ...]
    port: int
    log: str
    within: float
    requests: tuple[Request, ...]
    signal: str
    grace: float
    exit_codes: tuple[int, ...]


@dataclass(frozen=True)
class Invariants:
    """What must hold for every file of the image. None means unchecked."""

    no_set_id: bool
    world_writable: tuple[str, ...] | None
    uids: tuple[int, ...] | None
    gids: tuple[int, ...] | None
    forbidden: tuple[str, ...]
    max_bytes: int | None
    max_layers: int | None


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
        env=reader.string_map("env"),
        command=reader.strings("command"),
    )


def _entrypoint(reader: Reader) -> EntrypointTest:
    test = EntrypointTest(
        name=reader.string("name"),
        env=reader.string_map("env"),
        command=reader.strings("command"),
        port=reader.integer("waitForPort", 0),
        log=reader.string("waitForLog", ""),
        within=reader.number("within", DEFAULT_WITHIN) or 0.0,
        requests=reader.items("requests", _request),
        signal=reader.string("signal", ""),
        grace=reader.number("grace", DEFAULT_GRACE) or 0.0,
        exit_codes=_integers(reader, "exitCodes") or (0,),
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
        uids=_integers(reader, "uids") if reader.has("uids") else None,
        gids=_integers(reader, "gids") if reader.has("gids") else None,
        forbidden=reader.strings("forbidden"),
        max_bytes=maximum("maxBytes"),
        max_layers=maximum("maxLayers"),
    )


def _integers(reader: Reader, key: str) -> tuple[int, ...]:
    # YAML scalars arrive as text, JSON numbers as numbers.
    values = reader.values.get(key)
    reader.used.add(key)
    if values in (None, ""):
        return ()
    if not isinstance(values, list) or not all(str(item).lstrip("-").isdigit() for item in values):
        raise reader.fail(key, f"wanted a list of whole numbers, found {values!r}")
    return tuple(int(item) for item in values)
