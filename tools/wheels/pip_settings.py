"""The environment pip runs in: how this machine reaches its package index, and nothing more.

pip's configuration mixes how to reach an index (URL, certificate, proxy) with what to install
(constraints, pre-releases, a required virtual environment). Locks and fetches use the first and
must be untouched by the second, so pip's configuration files are switched off and what
`tools.wheels.pip_config` read from them is handed in as PIP_* variables. Standard library only:
fetching happens before any wheel is there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tools.wheels import pip_config

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def fetching_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the whole environment for a pip that fetches files by hash.

    Raises tools.bazel_root.errors.ToolError for a configuration file that cannot be parsed.
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
    """Returns the whole environment for a pip that resolves: the index alone has a say.

    Raises as `fetching_environment` does.
    """
    environment = fetching_environment(environ)
    for variable in _FURTHER_SOURCES:
        environment.pop(variable, None)
    return environment
