"""The tests of the schema: each turns one entry of a configuration into a list of errors.

A check without a result is an error, never a pass: an invalid pattern fails `expected` and
`excluded` alike, as upstream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.cli import ToolError
from tools.structure_test.go_text import PatternError, expand, file_mode, search
from tools.structure_test.image_under_test import ImageUnderTest
from tools.structure_test.schema import (
    EXECUTABLE_BITS,
    UNCHECKED,
    Expectation,
    FileContentTest,
    FileExistenceTest,
    LicenseTest,
    MetadataTest,
    Variable,
)

DOCUMENTATION = "/usr/share/doc"
FORBIDDEN_LICENSES = ("AGPL", "WTFPL")
# Upstream exempts this package: its copyright file mentions the AGPL but does not apply it.
LICENSE_EXCEPTIONS = ("libgnutls30",)
TAIL = 2000  # Characters of output repeated in an error.


@dataclass(frozen=True)
class Outcome:
    """The result of a check; it passes without errors."""

    errors: tuple[str, ...] = ()
    stdout: str = ""
    stderr: str = ""


def patterns(what: str, text: str, expected: Sequence[str], excluded: Sequence[str]) -> list[str]:
    """Return an error for each expected pattern without a match and each excluded one with one."""
    errors = []
    for wanted, items in ((True, expected), (False, excluded)):
        for pattern in items:
            try:
                found = search(pattern, text)
            except PatternError as error:
                errors.append(f"{what}: {error}")
                continue
            if found != wanted:
                verb = "does not match the expected" if wanted else "matches the excluded"
                errors.append(f"{what} {verb} pattern {pattern!r}; it is {_shorten(text)!r}")
    return errors


def known_env(subject: ImageUnderTest, variables: Sequence[Variable]) -> dict[str, str]:
    """Return the values of `$NAME` in a configuration: the image's, then globalEnvVars."""
    image_env = subject.settings.env
    return dict(image_env) | {item.key: expand(item.value, image_env) for item in variables}


def check_existence(
    subject: ImageUnderTest, test: FileExistenceTest, variables: Sequence[Variable] = ()
) -> Outcome:
    """Compare a path with the layers' headers, without following a link."""
    path = expand(test.path, known_env(subject, variables))
    entry = subject.tree.lookup(path)
    if not test.should_exist:
        if entry is None:
            return Outcome()
        return Outcome((f"{path} must not exist, but does ({file_mode(entry)})",))
    if entry is None:
        return Outcome((f"{path} must exist, but does not",))
    errors = []
    if test.permissions and file_mode(entry) != test.permissions:
        errors.append(f"{path}: permissions: expected {test.permissions}, found {file_mode(entry)}")
    for what, wanted, found in (("uid", test.uid, entry.uid), ("gid", test.gid, entry.gid)):
        if wanted not in (UNCHECKED, found):
            errors.append(f"{path}: {what}: expected {wanted}, found {found}")
    if test.is_executable_by and not entry.mode & EXECUTABLE_BITS[test.is_executable_by]:
        errors.append(
            f"{path}: must be executable by {test.is_executable_by}, but is {file_mode(entry)}"
        )
    return Outcome(tuple(errors))


def check_content(subject: ImageUnderTest, test: FileContentTest) -> Outcome:
    """Compare a file's whole content with the patterns."""
    try:
        text = printable(subject.read(test.path))
    except ToolError as error:
        return Outcome((str(error),))
    return Outcome(
        tuple(
            patterns(
                f"content of {test.path}", text, test.expected_contents, test.excluded_contents
            )
        )
    )


def is_license_file(path: str) -> bool:
    """Return whether a path of the image is a Debian copyright file."""
    parent, _, name = path.rpartition("/")
    return name == "copyright" and parent.rpartition("/")[0] == DOCUMENTATION


def check_licenses(subject: ImageUnderTest, test: LicenseTest) -> Outcome:
    """Search Debian copyright files and other files for forbidden licences."""
    paths = list(test.files)
    if test.debian:
        for name in subject.tree.children(DOCUMENTATION):
            folder = f"{DOCUMENTATION}/{name}"
            entry = subject.tree.lookup(folder)
            if entry is not None and entry.kind == "dir" and name not in LICENSE_EXCEPTIONS:
                paths.append(f"{folder}/copyright")
        if len(paths) == len(test.files):
            return Outcome((f"{DOCUMENTATION} has no package directory to check",))
    errors = []
    for path in paths:
        try:
            text = printable(subject.read(path)).upper()
        except ToolError as error:
            errors.append(str(error))
            continue
        errors += [f"{path} names the licence {n}" for n in FORBIDDEN_LICENSES if n in text]
    return Outcome(tuple(errors))


def check_metadata(subject: ImageUnderTest, test: MetadataTest) -> Outcome:
    """Compare the image's configuration."""
    config = subject.config
    errors = _variables("environment variable", dict(subject.settings.env), test.env_vars)
    errors += _variables("label", config.get("Labels") or {}, test.labels)
    errors += [
        f"environment variable {key!r} must not be set"
        for key in (item.key for item in test.unbound_env_vars)
        if key in subject.settings.env
    ]
    ports = {port.split("/")[0] for port in config.get("ExposedPorts") or {}}
    volumes = set(config.get("Volumes") or {})
    errors += _members("port", ports, test.exposed_ports, test.unexposed_ports)
    errors += _members("volume", volumes, test.volumes, test.unmounted_volumes)
    for what, key, wanted in (
        ("entrypoint", "Entrypoint", test.entrypoint),
        ("cmd", "Cmd", test.cmd),
    ):
        found = tuple(config.get(key) or ())
        if wanted is not None and wanted != found:
            errors.append(f"{what}: expected {list(wanted)}, found {list(found)}")
    for what, key, text in (("workdir", "WorkingDir", test.workdir), ("user", "User", test.user)):
        if text and text != (config.get(key) or ""):
            errors.append(f"{what}: expected {text!r}, found {config.get(key) or ''!r}")
    return Outcome(tuple(errors))


def _variables(what: str, found: Mapping[str, str], wanted: Sequence[Expectation]) -> list[str]:
    errors = []
    for item in wanted:
        if item.key not in found:
            errors.append(f"{what} {item.key!r} is not set")
        elif item.is_regex:
            errors += patterns(f"{what} {item.key!r}", found[item.key], (item.value,), ())
        elif found[item.key] != item.value:
            errors.append(
                f"{what} {item.key!r}: expected {item.value!r}, found {found[item.key]!r}"
            )
    return errors


def _members(
    what: str, found: set[str], wanted: Sequence[str], unwanted: Sequence[str]
) -> list[str]:
    listing = ", ".join(sorted(found)) or "none"
    errors = [
        f"{what} {item!r} is missing; there is: {listing}" for item in wanted if item not in found
    ]
    return errors + [f"{what} {item!r} must not be there" for item in unwanted if item in found]


def printable(data: bytes) -> str:
    """Return bytes as Go prints and compares strings: invalid UTF-8 is replaced."""
    return data.decode("utf-8", "replace")


def _shorten(text: str) -> str:
    return text if len(text) <= TAIL else f"{text[: TAIL // 2]} ... {text[-TAIL // 2 :]}"
