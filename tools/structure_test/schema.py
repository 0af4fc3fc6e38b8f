"""The configuration of container_structure_test, schema 2.0.0, as pydantic models.

Attributes are named like the fields of the file, in snake_case. YAML and JSON have the same fields,
defaults and strictness: upstream applies the defaults of `shouldExist`, `uid` and `gid` in YAML
only and ignores unknown fields in JSON, which are traps that are not copied.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from tools.structure_test.fields import Boolean, Integer, Name, StrictModel, Text, Texts, read, text

VERSION = "2.0.0"
UNCHECKED = -1
EXECUTABLE_BITS = {"owner": 0o100, "group": 0o010, "other": 0o001, "any": 0o111}

# An empty command is an error when it is run, not when it is read.
Command = Annotated[Texts, BeforeValidator(lambda value: () if value is None else value)]
Patterns = Annotated[Texts, Field(description="Regular expressions (RE2), found anywhere.")]


class Variable(StrictModel):
    """A variable to set. `isRegex` has no meaning here."""

    key: Name
    value: Name
    is_regex: Boolean = False


class Expectation(StrictModel):
    """What a variable or label must be; with `isRegex` the value is a regular expression."""

    key: Name
    value: Text = ""
    is_regex: Boolean = False


class CommandTest(StrictModel):
    """A command run in a fresh container, and what it must print and return."""

    name: Name
    command: Name
    args: Texts = ()
    setup: tuple[Command, ...] = Field(
        default=(), description="Commands run before, in the same container."
    )
    teardown: tuple[Command, ...] = Field(
        default=(), description="Commands run after, in the same one."
    )
    env_vars: tuple[Variable, ...] = ()
    expected_output: Patterns = ()
    excluded_output: Patterns = ()
    expected_error: Patterns = ()
    excluded_error: Patterns = ()
    exit_code: Integer = 0


class FileExistenceTest(StrictModel):
    """A path that must, or must not, exist, with its mode and owners."""

    # Go's zero values: upstream's defaults stand only where a field is left out.
    nulls: ClassVar[Mapping[str, object]] = {"shouldExist": False, "uid": 0, "gid": 0}

    name: Name
    path: Name
    should_exist: Boolean = True
    permissions: Text = Field(
        default="", description="As Go prints a mode: -rw-r--r--, drwxr-xr-x."
    )
    uid: Integer = Field(default=UNCHECKED, description="-1 is unchecked.")
    gid: Integer = Field(default=UNCHECKED, description="-1 is unchecked.")
    is_executable_by: Annotated[
        Literal["", "owner", "group", "other", "any"], BeforeValidator(text)
    ] = ""


class FileContentTest(StrictModel):
    """A file and the patterns its whole content must and must not match."""

    name: Name
    path: Name
    expected_contents: Patterns = ()
    excluded_contents: Patterns = ()


class MetadataTest(StrictModel):
    """The image's configuration. Fields that are left out are unchecked."""

    # An entrypoint that is written down must be that, also when nothing stands there.
    nulls: ClassVar[Mapping[str, object]] = {"entrypoint": (), "cmd": ()}

    env_vars: tuple[Expectation, ...] = ()
    unbound_env_vars: tuple[Expectation, ...] = ()
    labels: tuple[Expectation, ...] = ()
    exposed_ports: Texts = ()
    unexposed_ports: Texts = ()
    volumes: Texts = ()
    unmounted_volumes: Texts = ()
    entrypoint: Texts | None = None
    cmd: Texts | None = None
    workdir: Text = ""
    user: Text = ""


class LicenseTest(StrictModel):
    """Copyright files that must be free of AGPL and WTFPL."""

    debian: Boolean = Field(default=False, description="Check every package's copyright file.")
    files: Texts = ()


class RunOptions(StrictModel):
    """How the commands' containers differ from the image's own settings."""

    user: Text = ""
    privileged: Boolean = False
    allocate_tty: Boolean = False
    env_file: Text = ""
    env_vars: Texts = Field(
        default=(), description="Names of variables taken from the environment."
    )
    capabilities: Texts = ()
    bind_mounts: Texts = Field(default=(), description="SOURCE:TARGET or SOURCE:TARGET:ro.")


class Config(StrictModel):
    """Tests of a container image (container_structure_test, schema 2.0.0)."""

    schema_version: Annotated[Literal["2.0.0"], BeforeValidator(text)]
    global_env_vars: tuple[Variable, ...] = ()
    command_tests: tuple[CommandTest, ...] = ()
    file_content_tests: tuple[FileContentTest, ...] = ()
    file_existence_tests: tuple[FileExistenceTest, ...] = ()
    license_tests: tuple[LicenseTest, ...] = ()
    metadata_test: MetadataTest | None = None
    container_run_options: RunOptions = RunOptions()


def read_config(path: Path, *, upstream: bool = False) -> Config:
    """Read one file; raise ConfigError for everything the schema does not allow.

    With `upstream`, also for what only upstream's tool refuses.
    """
    return read(Config, path, check_version=_check_version, upstream=upstream)


def _check_version(version: str) -> str:
    if not version:
        return f"schemaVersion is missing; write schemaVersion: {VERSION}"
    if version == VERSION:
        return ""
    hint = (
        "in 2.0.0 a command is `command` and `args`, and file tests have `path`"
        if version == "1.0.0"
        else "there is no other"
    )
    return f"schemaVersion {version!r} is not supported, write {VERSION} ({hint})"
