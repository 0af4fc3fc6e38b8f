"""How this machine's pip reaches its package index, and nothing else of its configuration.

pip's configuration mixes how to reach an index (URL, certificate, proxy) with what to install (constraints,
local directories, pre-releases). Locks and fetches must use the first and be untouched by the second, so pip
is always run with its configuration files switched off and the settings below handed in as PIP_* variables.

Files, their order and the variables follow pip's manual, "Configuration". Standard library only, Python 3.9
or newer: `tools/bazelw` reads the host's settings with it before anything is installed.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECTION_OPTIONS = (
    "index-url",
    "extra-index-url",
    "cert",
    "client-cert",
    "proxy",
    "trusted-host",
    "timeout",
    "default-timeout",
    "retries",
    "keyring-provider",
)

# What pip and the TLS and proxy code below it read, beside PIP_*.
_INHERITED = (
    "HOME",
    "LANG",
    "NETRC",
    "PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)

# `[global]` applies to every command; the others override it for that command.
_SECTIONS = ("global", "install", "download")


class PipSettingsError(Exception):
    """A pip configuration file that cannot be read; the message names it."""


def _config_files(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    """Yields pip's configuration files, weakest first."""
    explicit = environ.get("PIP_CONFIG_FILE", "")
    if explicit == os.devnull:
        return
    home = root / environ.get("HOME", "/nonexistent").lstrip("/")
    for directory in environ.get("XDG_CONFIG_DIRS", "").split(os.pathsep):
        yield root / (directory or "/etc/xdg").lstrip("/") / "pip/pip.conf"
    yield root / "etc/pip.conf"
    yield home / ".pip/pip.conf"
    config_home = environ.get("XDG_CONFIG_HOME", "")
    yield (root / config_home.lstrip("/") if config_home else home / ".config") / "pip/pip.conf"
    if explicit:
        yield root / explicit.lstrip("/")


def _read_options(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        message = f"cannot read pip's configuration {path}: {error}; repair it or set PIP_CONFIG_FILE"
        raise PipSettingsError(message) from error
    options: dict[str, str] = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            for key, value in parser.items(section):
                options[key.replace("_", "-")] = value
    return options


def connection_settings(environ: Mapping[str, str], *, root: Path = Path("/")) -> dict[str, str]:
    """Returns the PIP_* variables that say how to reach the index, from pip's files and then `environ`.

    Additional indexes that are local directories are left out: they exist on one machine only.
    `root` is where absolute paths of configuration files start. Raises PipSettingsError.
    """
    found: dict[str, str] = {}
    for path in _config_files(environ, root):
        if path.is_file():
            found.update(_read_options(path))
    settings: dict[str, str] = {}
    for option in CONNECTION_OPTIONS:
        variable = "PIP_" + option.upper().replace("-", "_")
        words = (environ.get(variable) or found.get(option, "")).split()
        if option == "extra-index-url":
            words = [word for word in words if word.startswith(("https://", "http://"))]
        if words:
            settings[variable] = " ".join(words)
    return settings


def pip_environment(environ: Mapping[str, str], *, root: Path = Path("/")) -> dict[str, str]:
    """Returns the whole environment to run pip in: connection settings, proxies, certificates.

    Raises PipSettingsError.
    """
    result = {name: environ[name] for name in _INHERITED if environ.get(name)}
    result.update(connection_settings(environ, root=root))
    # pip looks at REQUESTS_CA_BUNDLE but not at OpenSSL's own variable.
    if "PIP_CERT" not in result and "REQUESTS_CA_BUNDLE" not in result and "SSL_CERT_FILE" in result:
        result["PIP_CERT"] = result["SSL_CERT_FILE"]
    result["PIP_CONFIG_FILE"] = os.devnull
    result["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    result["PIP_NO_INPUT"] = "1"
    return result
