"""Run pip with how this machine reaches its package index, and nothing more of its configuration.

pip's configuration mixes how to reach an index (URL, certificate, proxy) with what to install
(constraints, pre-releases, a required virtual environment). Locks and fetches use the first and
must be untouched by the second, so pip's configuration files are switched off and what
`tools.wheels.pip_config` read from them is handed in as PIP_* variables. Standard library only:
fetching happens before any wheel is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tools.cli import ToolError
from tools.wheels import pip_config

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# What pip and the TLS, proxy and credential code below it read, beside PIP_*.
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

# Further places to look, often local: they may serve a file whose hash is known, but a lock made
# from them would hold on this machine only.
_FURTHER_SOURCES = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")

_SHOWN_LINES = 15


def fetching_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment for a pip that fetches files by hash.

    Raise ToolError for a configuration file that cannot be parsed.
    """
    result = {name: environ[name] for name in _INHERITED if environ.get(name)}
    result.update(pip_config.pip_environment(environ))
    # pip looks at REQUESTS_CA_BUNDLE but not at OpenSSL's own variable.
    if not {"PIP_CERT", "REQUESTS_CA_BUNDLE"} & result.keys() and "SSL_CERT_FILE" in result:
        result["PIP_CERT"] = result["SSL_CERT_FILE"]
    result["PIP_CONFIG_FILE"] = os.devnull
    result["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    result["PIP_NO_INPUT"] = "1"
    return result


def locking_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment for a pip that resolves: the index alone has a say.

    Raise as `fetching_environment` does.
    """
    environment = fetching_environment(environ)
    for variable in _FURTHER_SOURCES:
        environment.pop(variable, None)
    return environment


def run_pip(
    arguments: Sequence[str],
    *,
    pip: Path,
    environment: Mapping[str, str],
    timeout_seconds: int,
    failed: str,
) -> None:
    """Run the pip in directory `pip`, without cache and progress bar.

    Raise ToolError that begins with `failed` and ends with pip's last lines.
    """
    command = [sys.executable, "-m", "pip", *arguments]
    command += ["--quiet", "--no-cache-dir", "--progress-bar=off"]
    try:
        done = subprocess.run(
            command,
            env={**environment, "PYTHONPATH": str(pip)},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{failed}: pip timed out after {timeout_seconds} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-_SHOWN_LINES:])
        raise ToolError(f"{failed}; pip says:\n{tail}")
