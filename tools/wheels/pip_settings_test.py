"""What pip is told of the machine's settings, and what it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.wheels.pip_settings import fetching_environment, locking_environment

if TYPE_CHECKING:
    from pathlib import Path


def _environ(config: Path) -> dict[str, str]:
    config.write_text(
        "[global]\nindex-url = https://index.example/simple\nextra-index-url = https://more.example/simple\n"
        "cert =\nfind-links = /wheelhouse\nconstraint = /etc/constraints\npre = true\n",
        encoding="utf-8",
    )
    return {
        "HOME": "/nonexistent",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "PIP_CONFIG_FILE": str(config),
        "PIP_TARGET": "/elsewhere",
        "PYTHONPATH": "/elsewhere",
        "SSL_CERT_FILE": "/etc/ca.crt",
    }


def test_a_fetch_keeps_every_source_and_nothing_that_changes_what_is_installed(
    tmp_path: Path,
) -> None:
    environment = fetching_environment(_environ(tmp_path / "pip.conf"))
    assert environment["PIP_INDEX_URL"] == "https://index.example/simple"
    assert environment["PIP_EXTRA_INDEX_URL"] == "https://more.example/simple"
    assert environment["PIP_FIND_LINKS"] == "/wheelhouse"
    assert environment["PIP_CERT"] == "/etc/ca.crt"
    assert environment["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert environment["PIP_CONFIG_FILE"] == "/dev/null"
    assert not {"PIP_CONSTRAINT", "PIP_PRE", "PIP_TARGET", "PYTHONPATH"} & environment.keys()


def test_a_lock_is_made_from_the_index_alone(tmp_path: Path) -> None:
    environment = locking_environment(_environ(tmp_path / "pip.conf"))
    assert environment["PIP_INDEX_URL"] == "https://index.example/simple"
    assert not {"PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"} & environment.keys()


def test_pips_own_certificate_setting_wins_over_openssls(tmp_path: Path) -> None:
    environ = {**_environ(tmp_path / "pip.conf"), "PIP_CERT": "/mine.crt"}
    assert fetching_environment(environ)["PIP_CERT"] == "/mine.crt"
    assert "PIP_CERT" not in fetching_environment(
        {"PIP_CONFIG_FILE": "/dev/null", "HOME": "/nonexistent"}
    )
