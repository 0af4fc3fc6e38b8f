"""Tests of tools/wheels/pip_config.py: pip's files and variables, strongest last."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.wheels.pip_config import config_files, pip_environment


def machine(directory: Path, **files: str) -> dict[str, str]:
    """Write pip's files below `directory` and return an environment that points at them."""
    places = {
        "xdg": "xdg/pip/pip.conf",
        "legacy": "home/.pip/pip.conf",
        "user": "home/.config/pip/pip.conf",
        "venv": "venv/pip.conf",
        "named": "named.conf",
    }
    for name, text in files.items():
        path = directory / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    environ = {"HOME": str(directory / "home"), "XDG_CONFIG_DIRS": str(directory / "xdg")}
    if "named" in files:
        environ["PIP_CONFIG_FILE"] = str(directory / "named.conf")
    return environ


def resolved(environ: Mapping[str, str], directory: Path) -> dict[str, str]:
    """Resolve without this machine's own /etc/pip.conf, whatever it says."""
    found = pip_environment(environ, prefix=str(directory / "venv"))
    own = pip_environment({"HOME": "/nowhere", "XDG_CONFIG_DIRS": "/nowhere"}, prefix="/nowhere")
    return {name: value for name, value in found.items() if own.get(name) != value}


def index(name: str) -> str:
    return f"[global]\nindex-url = https://{name}.example/simple\n"


def test_later_files_win_in_pips_order(tmp_path: Path) -> None:
    names = ["xdg", "legacy", "user", "venv"]
    for count in range(1, len(names) + 1):
        environ = machine(tmp_path / str(count), **{name: index(name) for name in names[:count]})
        assert resolved(environ, tmp_path / str(count)) == {
            "PIP_INDEX_URL": f"https://{names[count - 1]}.example/simple"
        }


def test_a_named_file_wins_and_replaces_the_users(tmp_path: Path) -> None:
    user = "[global]\nextra-index-url = https://extra.example/simple\n"
    environ = machine(tmp_path, user=user, venv=index("venv"), named=index("named"))
    assert resolved(environ, tmp_path) == {"PIP_INDEX_URL": "https://named.example/simple"}


def test_a_named_file_that_is_missing_leaves_the_users(tmp_path: Path) -> None:
    environ = {**machine(tmp_path, user=index("user")), "PIP_CONFIG_FILE": str(tmp_path / "no")}
    assert resolved(environ, tmp_path) == {"PIP_INDEX_URL": "https://user.example/simple"}


def test_dev_null_switches_all_files_off(tmp_path: Path) -> None:
    environ = {**machine(tmp_path, user=index("user")), "PIP_CONFIG_FILE": "/dev/null"}
    assert config_files(environ, prefix="/venv") == []
    assert pip_environment(environ) == {}


def test_variables_win_and_empty_ones_switch_a_setting_off(tmp_path: Path) -> None:
    text = index("user") + "find-links = /srv/wheels\ntimeout = 3\n"
    environ = machine(tmp_path, user=text)
    environ.update(PIP_INDEX_URL="https://v.example/", PIP_FIND_LINKS="", PIP_DEFAULT_TIMEOUT="9")
    assert resolved(environ, tmp_path) == {
        "PIP_DEFAULT_TIMEOUT": "9",
        "PIP_INDEX_URL": "https://v.example/",
    }


def test_lists_over_several_lines_become_words(tmp_path: Path) -> None:
    text = (
        "[global]\nextra-index-url =\n    https://a.example/simple\n    https://b.example/simple\n"
    )
    assert resolved(machine(tmp_path, user=text), tmp_path) == {
        "PIP_EXTRA_INDEX_URL": "https://a.example/simple https://b.example/simple"
    }


def test_keys_are_normalised_and_a_commands_section_is_stronger(tmp_path: Path) -> None:
    text = """\
[global]
Index_URL = https://weak.example/simple
--trusted-host = proxy.example
[install]
index-url = https://strong.example/simple
"""
    assert resolved(machine(tmp_path, user=text), tmp_path) == {
        "PIP_INDEX_URL": "https://strong.example/simple",
        "PIP_TRUSTED_HOST": "proxy.example",
    }


def test_what_would_change_the_resolution_is_not_taken_over(tmp_path: Path) -> None:
    text = "[global]\nconstraint = /srv/pins.txt\npre = yes\nrequire-virtualenv = true\n"
    environ = {**machine(tmp_path, user=text), "PIP_CONSTRAINT": "/srv/other.txt"}
    assert resolved(environ, tmp_path) == {}


def test_percent_signs_are_not_interpolated(tmp_path: Path) -> None:
    text = "[global]\nindex-url = https://user:p%40ss@x.example/simple\n"
    assert resolved(machine(tmp_path, user=text), tmp_path) == {
        "PIP_INDEX_URL": "https://user:p%40ss@x.example/simple"
    }


def test_an_invalid_configuration_file_is_named(tmp_path: Path) -> None:
    environ = machine(tmp_path, user="index-url = https://x.example\n")
    with pytest.raises(ToolError, match="cannot be parsed") as error:
        pip_environment(environ, prefix="/nowhere")
    assert str(tmp_path / "home/.config/pip/pip.conf") in str(error.value)
