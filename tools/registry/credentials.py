"""Find the credentials for a repository where docker, podman and their helpers keep them.

Files, in this order; the first with the host wins: `$DOCKER_CONFIG/config.json` (default
`$HOME/.docker/config.json`), `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json`, and
`$XDG_CONFIG_HOME/containers/auth.json` (default `$HOME/.config/…`), which survives a logout.
In each: `credHelpers`, then `auths`, then `credsStore`, as docker's config.json has them; keys that
name a repository are those of containers-auth.json(5), the most specific first. No message and no
repr contains a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.cli import ToolError, parse_json
from tools.registry.reference import Repository

# A helper may ask the user to unlock a keyring, but must not block a build forever.
_HELPER_TIMEOUT = 120.0
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_NOT_FOUND = "credentials not found"
# The user name by which a helper marks the secret as an identity token.
_TOKEN_USER = "<token>"  # noqa: S105 - a user name


@dataclass(frozen=True)
class Credentials:
    """A user name and a secret. `identity_token` is an OAuth2 refresh token; `source` is shown."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of an Authorization header of the Basic scheme (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def secrets(self) -> tuple[str, ...]:
        """Return every string that must never be shown."""
        encoded = self.basic().partition(" ")[2] if self.password else ""
        return tuple(each for each in (self.password, self.identity_token, encoded) if each)


def find_credentials(
    repository: Repository,
    *,
    environ: Mapping[str, str],
    files: Sequence[Path] | None = None,
) -> Credentials | None:
    """Return the credentials for `repository`, or None.

    `files` are read instead of those that `environ` names. Raise ToolError for a broken file or
    helper.
    """
    for file in config_files(environ) if files is None else files:
        if file.is_file():
            found = _from_file(file, repository, environ)
            if found is not None:
                return found
    return None


def config_files(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files that may hold credentials, in order of precedence."""
    files = []
    if environ.get("DOCKER_CONFIG"):
        files.append(Path(environ["DOCKER_CONFIG"]) / "config.json")
    elif environ.get("HOME"):
        files.append(Path(environ["HOME"]) / ".docker" / "config.json")
    if environ.get("REGISTRY_AUTH_FILE"):
        files.append(Path(environ["REGISTRY_AUTH_FILE"]))
    if environ.get("XDG_RUNTIME_DIR"):
        files.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json")
    if environ.get("XDG_CONFIG_HOME"):
        files.append(Path(environ["XDG_CONFIG_HOME"]) / "containers" / "auth.json")
    elif environ.get("HOME"):
        files.append(Path(environ["HOME"]) / ".config" / "containers" / "auth.json")
    return tuple(files)


def _from_file(
    file: Path, repository: Repository, environ: Mapping[str, str]
) -> Credentials | None:
    config = _read_config(file)
    host = repository.credentials_host
    helpers = _member(config, "credHelpers", file)
    if host in helpers:
        return _from_helper(str(helpers[host]), host, file=file, environ=environ)
    auths = {_bare(key): value for key, value in _member(config, "auths", file).items()}
    for key in _keys(repository):
        found = _from_entry(auths.get(key), key, file)
        if found is not None:
            return found
    store = config.get("credsStore")
    if store:
        # Docker files Docker Hub in a store under the address of its first version.
        server = "https://index.docker.io/v1/" if host == "index.docker.io" else host
        return _from_helper(str(store), server, file=file, environ=environ)
    return None


def _keys(repository: Repository) -> Iterator[str]:
    """Yield `host/a/b`, `host/a`, `host`: the most specific key first."""
    parts = [repository.credentials_host, *repository.name.split("/")]
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])


def _bare(key: str) -> str:
    """Return a key without the scheme and version of older files, `https://HOST/v1/`.

    `HOST/v1`, without both slashes, is a namespace of containers-auth.json(5).
    """
    bare = re.sub(r"^https?://", "", key)
    old = bare != key or bare.endswith("/")
    return re.sub(r"^([^/]*)/(v[12]/?)?$", r"\1", bare) if old else bare


def _from_entry(entry: Any, key: str, file: Path) -> Credentials | None:
    """Read an entry of `auths`; docker leaves empty ones for hosts in a store."""
    if not isinstance(entry, dict):
        return None
    username = str(entry.get("username") or "")
    password = str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise ToolError(f"{file}: 'auth' of '{key}' is not base64") from error
        username, separator, password = decoded.partition(":")
        if not separator:
            raise ToolError(f"{file}: 'auth' of '{key}' is not user:password")
        # Docker pads the password with NULs in some versions.
        password = password.rstrip("\0")
    token = str(entry.get("identitytoken") or "")
    if not password and not token:
        return None
    return Credentials(
        source=f"{file} ('{key}')", username=username, password=password, identity_token=token
    )


def _from_helper(
    name: str, server: str, *, file: Path, environ: Mapping[str, str]
) -> Credentials | None:
    """Ask `docker-credential-<name>` (docker-credential-helpers protocol: `get`, host on stdin)."""
    program = f"docker-credential-{name}"
    if not _HELPER_NAME.fullmatch(name):
        raise ToolError(f"{file}: '{name}' is not the name of a credential helper")
    path = shutil.which(program, path=environ.get("PATH"))
    if path is None:
        raise ToolError(
            f"{file}: names the credential helper '{name}', but {program} is not on PATH; "
            "install it, or remove it from the file"
        )
    try:
        run = subprocess.run(
            [path, "get"],
            input=server,
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=_HELPER_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{program} (from {file}): {type(error).__name__}") from error
    if run.returncode != 0:
        # Helpers write errors to stdout; a failed one holds no secret.
        message = (run.stdout.strip() or run.stderr.strip()).splitlines()[:1]
        if message and _NOT_FOUND in message[0]:
            return None
        raise ToolError(
            f"{program} (from {file}) failed for '{server}': {' '.join(message) or 'no message'}"
        )
    try:
        reply = parse_json(run.stdout)
        username, secret = str(reply["Username"]), str(reply["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"{program} (from {file}) did not print JSON with Username and Secret for '{server}'"
        ) from error
    source = f"{program} (from {file})"
    if username == _TOKEN_USER:
        return Credentials(source=source, identity_token=secret)
    return Credentials(source=source, username=username, password=secret)


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        # The message of a JSON error has a position and no content.
        raise ToolError(f"{file}: cannot be used: {error}") from error
    if not isinstance(config, dict):
        raise ToolError(f"{file}: must contain a JSON object")
    return config


def _member(config: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise ToolError(f"{file}: member '{name}' must be an object")
    return value
