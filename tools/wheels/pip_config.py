"""Resolve the host's pip settings into PIP_* variables, as pip itself would.

Inside the private root the host's /etc/pip.conf cannot be seen, and repository rules look only at
the environment. Files and precedence are those of pip's documentation ("Configuration Files") and
of its configuration module: system-wide files, the user's, the environment's own (virtualenv), the
one that PIP_CONFIG_FILE names (the user's is then not read; /dev/null means none at all), and last
the variables themselves, of which an empty one switches a setting off.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping

from tools.cli import ToolError

# What decides where and how packages are fetched. Constraints and the like would change what is
# resolved, which only the lock may do.
SETTINGS = (
    "cert",
    "client-cert",
    "extra-index-url",
    "find-links",
    "index-url",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
)
# A setting under [install] is meant for fetching too, whichever pip command does it here.
_SECTIONS = ("global", "install", "download", "wheel")
_VARIABLES = {"timeout": "PIP_DEFAULT_TIMEOUT"}


def pip_environment(environ: Mapping[str, str], *, prefix: str = sys.prefix) -> dict[str, str]:
    """Return the PIP_* variables for SETTINGS; only those that are set somewhere.

    Raise ToolError naming a configuration file that cannot be parsed.
    """
    found: dict[str, str] = {}
    for path in config_files(environ, prefix=prefix):
        found.update(_read(path))
    for name in SETTINGS:
        for variable in (f"PIP_{name.upper().replace('-', '_')}", variable_of(name)):
            if variable in environ:
                found[name] = environ[variable]
    return {variable_of(name): value for name, value in sorted(found.items()) if value}


def variable_of(setting: str) -> str:
    """Return the variable that carries a setting."""
    return _VARIABLES.get(setting, "PIP_" + setting.upper().replace("-", "_"))


def config_files(environ: Mapping[str, str], *, prefix: str) -> list[str]:
    """Return the paths of pip's configuration files, weakest first, whether they exist or not."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = environ.get("HOME") or os.path.expanduser("~")
    system_directories = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    paths = [
        os.path.join(directory, "pip", "pip.conf") for directory in system_directories if directory
    ]
    paths.append("/etc/pip.conf")
    if not (named and os.path.exists(named)):
        user_directory = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        paths.append(os.path.join(home, ".pip", "pip.conf"))
        paths.append(os.path.join(user_directory, "pip", "pip.conf"))
    paths.append(os.path.join(prefix, "pip.conf"))
    return [*paths, named] if named else paths


def _read(path: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        with open(path, encoding="utf-8") as stream:
            parser.read_file(stream)
    except OSError:
        return {}  # missing, or not this user's to read: pip goes on as well
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ToolError(f"{path}: pip's configuration cannot be parsed: {error}") from error
    found: dict[str, str] = {}
    for section in _SECTIONS:
        if parser.has_section(section):
            for key, value in parser.items(section):
                name = key.lower().replace("_", "-")
                name = name.removeprefix("--")
                if name in SETTINGS:
                    found[name] = " ".join(value.split())
    return found
