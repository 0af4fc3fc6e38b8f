"""Tests of tools/bazel_root/environment.py: what passes into the root, what does not."""

from collections.abc import Mapping

from tools.bazel_root.environment import bazel_environment

BASE = {
    "HOME": "/home/me",
    "PIP_CONFIG_FILE": "/dev/null",
    "DEBIAN_MIRROR": "http://mirror.example/debian",
}


def inside(**variables: str) -> Mapping[str, str]:
    return bazel_environment({**BASE, **variables})


def test_what_a_started_program_expects_passes() -> None:
    variables = {
        "COLUMNS": "133",
        "DOCKER_CONFIG": "/home/me/.docker",
        "DOCKER_HOST": "unix:///run/user/1000/docker.sock",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "MY_OWN": "value",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "TERM": "xterm-256color",
        "USER": "me",
        "XDG_RUNTIME_DIR": "/run/user/1000",
        "no_proxy": "localhost",
    }
    found = inside(**variables)
    assert {name: found[name] for name in variables} == variables
    assert found["HOME"] == "/home/me"


def test_what_speaks_of_the_hosts_own_programs_does_not() -> None:
    dropped = {
        "BASH_ENV": "/home/me/.env",
        "JAVA_HOME": "/usr/lib/jvm/java-8",
        "JAVA_TOOL_OPTIONS": "-javaagent:/opt/agent.jar",
        "LC_ALL": "de_DE.UTF-8",
        "LD_LIBRARY_PATH": "/usr/local/lib",
        "LD_PRELOAD": "/usr/lib/libfoo.so",
        "PYTHONPATH": "/home/me/lib",
        "SSL_CERT_DIR": "/etc/ssl/certs",
        "VIRTUAL_ENV": "/home/me/venv",
    }
    assert not dropped.keys() & inside(**dropped).keys()


def test_programs_and_locale_are_the_roots() -> None:
    found = inside(PATH="/home/me/bin:/usr/bin", LANG="de_DE.UTF-8", SHELL="/usr/bin/zsh")
    assert found["PATH"].split(":")[:2] == ["/usr/bin", "/bin"]
    assert "/home/me/bin" not in found["PATH"]
    assert (found["LANG"], found["SHELL"]) == ("C.UTF-8", "/bin/bash")


def test_bundles_are_the_merged_one() -> None:
    found = inside(SSL_CERT_FILE="/home/me/proxy.pem")
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"):
        assert found[name] == "/etc/ssl/certs/ca-certificates.crt"


def test_mirrors_and_pips_settings_are_handed_in_resolved() -> None:
    found = inside(PIP_INDEX_URL="https://index.example/simple", PIP_CONSTRAINT="/home/me/c.txt")
    assert found["DEBIAN_MIRROR"] == "http://mirror.example/debian"
    assert found["DEBIAN_SECURITY_MIRROR"] == "http://mirror.example/debian-security"
    assert found["PIP_INDEX_URL"] == "https://index.example/simple"
    assert found["PIP_CONFIG_FILE"] == "/dev/null"  # read already
    assert "PIP_CONSTRAINT" not in found


def test_a_user_name_is_always_there() -> None:
    assert inside(USER="")["USER"]
