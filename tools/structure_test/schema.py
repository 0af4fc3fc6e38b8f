"""The configuration of container_structure_test, schema 2.0.0, as frozen dataclasses.

The same fields, defaults and strictness in YAML and in JSON. Upstream applies the defaults of
`shouldExist`, `uid` and `gid` in YAML only and ignores unknown fields in JSON; both are traps for
whoever writes the file and are not copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tools.structure_test.fields import ConfigError, Reader, load, read_mapping

VERSION = "2.0.0"
UNCHECKED = -1
EXECUTABLE_BITS = {"owner": 0o100, "group": 0o010, "other": 0o001, "any": 0o111}


@dataclass(frozen=True)
class Variable:
    """A key and its value; with `is_regex` the value is a pattern."""

    key: str
    value: str
    is_regex: bool = False


@dataclass(frozen=True)
class CommandTest:
    """A command run in a fresh container, and what it must print and return."""

    name: str
    command: str
    args: tuple[str, ...]
    setup: tuple[tuple[str, ...], ...]
    teardown: tuple[tuple[str, ...], ...]
    env: tuple[Variable, ...]
    expected_output: tuple[str, ...]
    excluded_output: tuple[str, ...]
    expected_error: tuple[str, ...]
    excluded_error: tuple[str, ...]
    exit_code: int


@dataclass(frozen=True)
class FileExistenceTest:
    """A path that must, or must not, exist, with its mode and owners."""

    name: str
    path: str
    should_exist: bool
    permissions: str
    uid: int
    gid: int
    executable_by: str


@dataclass(frozen=True)
class FileContentTest:
    """A file and the patterns its whole content must and must not have."""

    name: str
    path: str
    expected: tuple[str, ...]
    excluded: tuple[str, ...]


@dataclass(frozen=True)
class MetadataTest:
    """The image's configuration. None and "" mean unchecked, () means must be empty."""

    env: tuple[Variable, ...]
    unbound_env: tuple[str, ...]
    labels: tuple[Variable, ...]
    exposed_ports: tuple[str, ...]
    unexposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    unmounted_volumes: tuple[str, ...]
    entrypoint: tuple[str, ...] | None
    cmd: tuple[str, ...] | None
    workdir: str
    user: str


@dataclass(frozen=True)
class LicenseTest:
    """Copyright files that must be free of AGPL and WTFPL."""

    debian: bool
    files: tuple[str, ...]


@dataclass(frozen=True)
class RunOptions:
    """How the commands' containers differ from the image's own settings."""

    user: str = ""
    privileged: bool = False
    allocate_tty: bool = False
    env_file: str = ""
    env_names: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    bind_mounts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """One configuration file."""

    source: str
    global_env: tuple[Variable, ...] = ()
    commands: tuple[CommandTest, ...] = ()
    contents: tuple[FileContentTest, ...] = ()
    existences: tuple[FileExistenceTest, ...] = ()
    licenses: tuple[LicenseTest, ...] = ()
    metadata: MetadataTest | None = None
    options: RunOptions = RunOptions()


def read_config(path: Path) -> Config:
    """Reads one file. Raises ConfigError for everything the schema does not allow."""
    return read_mapping(str(path), load(path), lambda reader: _config(reader, str(path)))


def _config(reader: Reader, source: str) -> Config:
    version = reader.string("schemaVersion", "")
    if not version:
        raise ConfigError(f"{source}: schemaVersion is missing; write schemaVersion: {VERSION}")
    if version != VERSION:
        hint = (
            "in 2.0.0 a command is `command` and `args`, and file tests have `path`"
            if version == "1.0.0"
            else "there is no other"
        )
        raise ConfigError(
            f"{source}: schemaVersion {version!r} is not supported, write {VERSION} ({hint})"
        )
    return Config(
        source=source,
        global_env=reader.items("globalEnvVars", _variable),
        commands=reader.items("commandTests", _command),
        contents=reader.items("fileContentTests", _content),
        existences=reader.items("fileExistenceTests", _existence),
        licenses=reader.items("licenseTests", _license),
        metadata=reader.item("metadataTest", _metadata),
        options=reader.item("containerRunOptions", _options) or RunOptions(),
    )


def _variable(reader: Reader) -> Variable:
    # Upstream has one type for what is set and what is expected; here it means nothing.
    reader.boolean("isRegex", default=False)
    return Variable(reader.string("key"), reader.string("value"))


def _expectation(reader: Reader) -> Variable:
    is_regex = reader.boolean("isRegex", default=False)
    return Variable(reader.string("key"), reader.string("value", ""), is_regex)


def _command(reader: Reader) -> CommandTest:
    return CommandTest(
        name=reader.string("name"),
        command=reader.string("command"),
        args=reader.strings("args"),
        setup=reader.string_lists("setup"),
        teardown=reader.string_lists("teardown"),
        env=reader.items("envVars", _variable),
        expected_output=reader.strings("expectedOutput"),
        excluded_output=reader.strings("excludedOutput"),
        expected_error=reader.strings("expectedError"),
        excluded_error=reader.strings("excludedError"),
        exit_code=reader.integer("exitCode", 0),
    )


def _existence(reader: Reader) -> FileExistenceTest:
    by = reader.string("isExecutableBy", "")
    if by and by not in EXECUTABLE_BITS:
        raise reader.fail(
            "isExecutableBy", f"wanted one of {', '.join(EXECUTABLE_BITS)}, found {by!r}"
        )
    return FileExistenceTest(
        name=reader.string("name"),
        path=reader.string("path"),
        should_exist=reader.boolean("shouldExist", default=True),
        permissions=reader.string("permissions", ""),
        uid=reader.integer("uid", UNCHECKED),
        gid=reader.integer("gid", UNCHECKED),
        executable_by=by,
    )


def _content(reader: Reader) -> FileContentTest:
    return FileContentTest(
        name=reader.string("name"),
        path=reader.string("path"),
        expected=reader.strings("expectedContents"),
        excluded=reader.strings("excludedContents"),
    )


def _license(reader: Reader) -> LicenseTest:
    return LicenseTest(reader.boolean("debian", default=False), reader.strings("files"))


def _metadata(reader: Reader) -> MetadataTest:
    return MetadataTest(
        env=reader.items("envVars", _expectation),
        unbound_env=tuple(item.key for item in reader.items("unboundEnvVars", _expectation)),
        labels=reader.items("labels", _expectation),
        exposed_ports=reader.strings("exposedPorts"),
        unexposed_ports=reader.strings("unexposedPorts"),
        volumes=reader.strings("volumes"),
        unmounted_volumes=reader.strings("unmountedVolumes"),
        entrypoint=reader.strings("entrypoint") if reader.has("entrypoint") else None,
        cmd=reader.strings("cmd") if reader.has("cmd") else None,
        workdir=reader.string("workdir", ""),
        user=reader.string("user", ""),
    )


def _options(reader: Reader) -> RunOptions:
    return RunOptions(
        user=reader.string("user", ""),
        privileged=reader.boolean("privileged", default=False),
        allocate_tty=reader.boolean("allocateTty", default=False),
        env_file=reader.string("envFile", ""),
        env_names=reader.strings("envVars"),
        capabilities=reader.strings("capabilities"),
        bind_mounts=reader.strings("bindMounts"),
    )
