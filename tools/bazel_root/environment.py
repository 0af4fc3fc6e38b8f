"""The environment in which Bazel runs inside the root, and with it whatever `bazel run` starts.

The user's variables pass through, so that a started program finds what it would find outside:
terminal, proxies, container engines, agents. Variables that refer to the host's own /usr, which
is not there, are left out. The host's configuration that repository rules need is passed here too,
and not on a command line, which every user of the machine can read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tools.apt.mirrors import archive_urls
from tools.bazel_root.trust import BUNDLE, VARIABLES
from tools.wheels.pip_config import pip_environment

_BUNDLE = f"/etc/ssl/certs/{BUNDLE}"
# They would make the root's programs load the host's libraries, modules or locales.
_DROPPED_PREFIXES = ("LD_", "LC_", "PYTHON", "BASH_FUNC_", "PIP_")
_DROPPED = frozenset(
    [
        *("BASH_ENV", "CDPATH", "CLASSPATH", "ENV", "GCONV_PATH", "JAVA_HOME", "JAVA_OPTS"),
        *("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "LANGUAGE", "LOCPATH", "OLDPWD"),
        *("SSL_CERT_DIR", "VIRTUAL_ENV", "_JAVA_OPTIONS"),
    ]
)
# The host's last: its docker credential helpers and the like are often static programs.
_PATH = "/usr/bin:/bin:/usr/local/bin"


def bazel_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for Bazel inside the root.

    Raise ToolError for an invalid setting of the host.
    """
    inside = {
        name: value
        for name, value in environ.items()
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)
    }
    # All of pip's files have been read; inside, half of them could be seen and would be read again.
    inside.update(pip_environment(environ), PIP_CONFIG_FILE=os.devnull)
    inside.update(_mirrors(environ))
    inside.update(
        PATH=_PATH,
        # The root has this locale alone; another would make shells complain and Java lose umlauts.
        LANG="C.UTF-8",
        SHELL="/bin/bash",
        HOME=environ.get("HOME") or os.path.expanduser("~"),
    )
    inside.update(dict.fromkeys(VARIABLES, _BUNDLE))
    if not inside.get("USER"):
        inside["USER"] = _user_name()
    return inside


def _user_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())  # a container started with a bare number


def _mirrors(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for variable, archive in (
        ("DEBIAN_MIRROR", "debian"),
        ("DEBIAN_SECURITY_MIRROR", "debian-security"),
    ):
        urls = archive_urls(archive, environ=environ)
        if urls:
            found[variable] = " ".join(urls)
    return found
