"""The configuration of `image_test`: tests that container_structure_test has no fields for.

A file of its own, so that every file given to container_structure_test is one that upstream's
tool accepts. Times are in seconds.

    schemaVersion: image_test/1
    healthcheckTests: [{name: becomes healthy, within: 60, interval: 1}]
    entrypointTests: [{name: answers, waitForPort: 8000, requests: [{path: /health}]}]
    invariants: {noSetId: true, worldWritable: [/tmp], uids: [0, 1000], maxLayers: 10}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from tools.cli import ToolError
from tools.linux.signals import parse_signal
from tools.structure_test.fields import (
    Boolean,
    Integer,
    Integers,
    Name,
    Number,
    StrictModel,
    Text,
    Texts,
    read,
    text,
    wanted,
)

VERSION = "image_test/1"
RESTRICTED_INTERVAL = 0.5  # Between the probes of invariants, whatever the image's own is.


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise wanted("an absolute path", path)
    return path


def _problem(field: str, cause: str) -> PydanticCustomError:
    """Return the error of fields that do not fit together, named after the first."""
    return PydanticCustomError("combination", "{field}: {cause}", {"field": field, "cause": cause})


Directories = tuple[Annotated[Text, AfterValidator(_absolute)], ...]
Within = Annotated[Number, Field(description="Seconds until the test fails.")]


class Start(StrictModel):
    """How the image is started, where it differs from its configuration.

    `env` adds to its environment, `command` replaces its command, `user` its user (a number needs
    no account). With `readOnlyRoot` only the image's declared volumes and the directories in
    `writable` are writable; the latter start empty.
    """

    env: dict[str, Text] = Field(default_factory=dict)
    command: Texts = ()
    user: Text = ""
    read_only_root: Boolean = False
    writable: Directories = ()


class HealthcheckTest(Start):
    """Start the image and run its own healthcheck until it is healthy or unhealthy.

    `interval` replaces the image's interval and start interval, so that a test need not wait;
    its timeout, retries and start period stay the image's.
    """

    name: Name
    expect: Annotated[Literal["healthy", "unhealthy"], BeforeValidator(text)] = "healthy"
    within: Within = 120.0
    interval: Number | None = None


class Request(StrictModel):
    """A GET request, and the status and patterns its response must have."""

    path: Name
    status: Integer = 200
    body: Texts = ()


class EntrypointTest(Start):
    """Start the image's command, talk to it, and stop it with a signal."""

    name: Name
    wait_for_port: Integer = 0
    wait_for_log: Text = ""
    within: Within = 120.0
    requests: tuple[Request, ...] = ()
    signal: Text = Field(
        default="",
        description="Such as SIGTERM, SIGRTMIN+3 or 15; by default the image's StopSignal.",
    )
    grace: Number = 10.0
    exit_codes: Annotated[Integers, AfterValidator(lambda codes: codes or (0,))] = (0,)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.wait_for_port and not self.wait_for_log:
            raise _problem("waitForPort", "set it or waitForLog, to say when the image is up")
        if self.requests and not self.wait_for_port:
            raise _problem("requests", "need waitForPort, the port they go to")
        if self.signal:
            try:
                parse_signal(self.signal)
            except ToolError as error:
                raise _problem("signal", str(error)) from error
        return self


class Invariants(StrictModel):
    """What must hold for every file of the image, and how else it must start.

    `readOnlyRoot` and `arbitraryUid` run the image's own healthcheck under those restrictions.
    """

    # A list that is written down counts, also when nothing stands there.
    nulls: ClassVar[Mapping[str, object]] = {
        "worldWritable": (),
        "uids": (),
        "gids": (),
        "maxBytes": 0,
        "maxLayers": 0,
        "arbitraryUid": 0,
    }

    no_set_id: Boolean = False
    world_writable: Texts | None = Field(
        default=None, description="The only paths all may write to."
    )
    uids: Integers | None = Field(default=None, description="The only owners there may be.")
    gids: Integers | None = Field(default=None, description="The only groups there may be.")
    forbidden: Texts = Field(default=(), description="Globs; `*` stops at a slash, `**` does not.")
    max_bytes: Integer | None = Field(default=None, description="Of the unpacked image.")
    max_layers: Integer | None = None
    read_only_root: Boolean = False
    arbitrary_uid: Integer | None = None
    writable: Directories = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.arbitrary_uid is not None and self.arbitrary_uid <= 0:
            raise _problem(
                "arbitraryUid", f"wanted a user that is not root, found {self.arbitrary_uid}"
            )
        if self.writable and not self.read_only_root and self.arbitrary_uid is None:
            raise _problem("writable", "needs readOnlyRoot or arbitraryUid")
        return self

    @property
    def restricted(self) -> tuple[HealthcheckTest, ...]:
        """The image's own healthcheck, under each restriction that is asked for."""
        tests = []
        if self.read_only_root:
            tests.append(
                HealthcheckTest(
                    name="works with a read-only root",
                    interval=RESTRICTED_INTERVAL,
                    read_only_root=True,
                    writable=self.writable,
                )
            )
        if self.arbitrary_uid is not None:
            tests.append(
                HealthcheckTest(
                    name=f"works as user {self.arbitrary_uid}",
                    interval=RESTRICTED_INTERVAL,
                    # Group 0, as OpenShift gives it to its arbitrary users.
                    user=f"{self.arbitrary_uid}:0",
                    writable=self.writable,
                )
            )
        return tuple(tests)


class ImageConfig(StrictModel):
    """Tests of a container image that start it, and invariants of its files (image_test)."""

    schema_version: Annotated[Literal["image_test/1"], BeforeValidator(text)]
    healthcheck_tests: tuple[HealthcheckTest, ...] = ()
    entrypoint_tests: tuple[EntrypointTest, ...] = ()
    invariants: Invariants | None = None


def read_image_config(path: Path) -> ImageConfig:
    """Read one file; raise ConfigError for everything the schema does not allow."""
    return read(
        ImageConfig,
        path,
        check_version=lambda version: (
            "" if version == VERSION else f"schemaVersion: wanted {VERSION}, found {version!r}"
        ),
    )
