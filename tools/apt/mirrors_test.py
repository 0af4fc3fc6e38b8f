"""Tests of tools/apt/mirrors.py on apt configurations as they are found on machines."""

import json
from pathlib import Path

import pytest

from tools.apt.mirrors import archive_urls, main, redacted
from tools.cli import ToolError

DEB822 = """\
# Written by the installer.
Types: deb deb-src
URIs: http://one.example/debian/
      https://two.example/debian
Suites: bookworm bookworm-updates
# A comment amid a stanza.
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://one.example/debian-security
Suites: bookworm-security
Components: main
"""


def apt(directory: Path, **files: str) -> Path:
    """Write an apt directory: `sources_list` is sources.list, `x_list`, `x_sources` are parts."""
    (directory / "sources.list.d").mkdir(parents=True)
    for key, text in files.items():
        name, _, suffix = key.rpartition("_")
        parent = directory if key == "sources_list" else directory / "sources.list.d"
        (parent / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    return directory


def found(directory: Path, archive: str = "debian") -> list[str]:
    return archive_urls(archive, environ={}, apt_dir=directory)


def test_deb822_sources_give_each_uri_once_without_a_trailing_slash(tmp_path: Path) -> None:
    directory = apt(tmp_path, debian_sources=DEB822)
    assert found(directory) == ["http://one.example/debian", "https://two.example/debian"]
    assert found(directory, "debian-security") == ["http://one.example/debian-security"]


def test_one_line_sources_with_options_comments_and_blank_lines(tmp_path: Path) -> None:
    text = """
# deb http://commented.example/debian bookworm main
deb [ arch=amd64 signed-by=/usr/share/keyrings/x.gpg ] http://a.example/debian bookworm main # x
deb [arch=arm64]http://b.example/debian/ stable main contrib
deb-src http://source.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
"""
    directory = apt(tmp_path, sources_list=text)
    assert found(directory) == ["http://a.example/debian", "http://b.example/debian"]
    assert found(directory, "debian-security") == ["http://security.example/debian-security"]


@pytest.mark.parametrize("value", ["no", "No", "false", "0", "off"])
def test_a_disabled_stanza_does_not_count(tmp_path: Path, value: str) -> None:
    stanza = "Types: deb\nURIs: http://x.example/debian\nSuites: sid\nComponents: main\nEnabled: "
    assert found(apt(tmp_path, debian_sources=f"{stanza}{value}\n")) == []
    assert found(apt(tmp_path / "on", debian_sources=f"{stanza}yes\n")) == [
        "http://x.example/debian"
    ]


def test_other_distributions_and_archives_are_left_out(tmp_path: Path) -> None:
    text = """\
deb http://archive.example/ubuntu noble main
deb http://archive.example/raspbian bookworm main
deb https://packages.example/cloud-sdk cloud-sdk-bookworm main
deb https://packages.example/node nodistro main
deb https://packages.example/pg bookworm-pgdg main
deb https://packages.example/docker bookworm stable
deb http://flat.example/repository ./
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
"""
    assert found(apt(tmp_path, sources_list=text)) == []


def test_a_mirror_of_another_name_comes_after_the_certain_ones(tmp_path: Path) -> None:
    text = """\
deb https://artifacts.example/repository/apt-proxy bookworm main
deb http://z.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://y.example/x bookworm main
"""
    assert found(apt(tmp_path, sources_list=text)) == [
        "http://z.example/debian",
        "http://y.example/x",
        "https://artifacts.example/repository/apt-proxy",
    ]


def test_file_and_mirror_list_sources(tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text("http://m1.example/debian\tpriority:1\n# no\nhttps://m2.example/debian\n")
    text = f"""\
deb file:/srv/debian/ bookworm main
deb [trusted=yes] copy:/media/debian bookworm main
deb mirror+file:{mirrors} bookworm main
deb mirror+file:/nowhere.list bookworm main
"""
    assert set(found(apt(tmp_path / "apt", sources_list=text))) == {
        "file:///srv/debian",
        "file:///media/debian",
        "http://m1.example/debian",
        "https://m2.example/debian",
    }


def test_parts_are_read_in_order_and_other_files_are_not(tmp_path: Path) -> None:
    line = "deb http://{}.example/debian bookworm main\n"
    directory = apt(tmp_path, sources_list=line.format("main"))
    for name in ("20-b.list", "10-a.list", "30-c.list.bak", "40 d.list"):
        (directory / "sources.list.d" / name).write_text(line.format(name[:2]), encoding="utf-8")
    assert found(directory) == [
        "http://main.example/debian",
        "http://10.example/debian",
        "http://20.example/debian",
    ]


def test_security_is_derived_where_no_source_names_it(tmp_path: Path) -> None:
    directory = apt(tmp_path, sources_list="deb http://x.example/debian sid main\n")
    assert found(directory, "debian-security") == ["http://x.example/debian-security"]


def test_a_machine_without_apt_has_no_mirrors(tmp_path: Path) -> None:
    assert found(tmp_path / "nothing") == []


def test_the_environment_comes_before_the_sources(tmp_path: Path) -> None:
    directory = apt(tmp_path, debian_sources=DEB822)
    environ = {"DEBIAN_MIRROR": " https://a.example/debian/  file:/srv/all "}

    def urls(archive: str, **more: str) -> list[str]:
        return archive_urls(archive, environ={**environ, **more}, apt_dir=directory)

    assert urls("debian") == ["https://a.example/debian", "file:///srv/all"]
    assert urls("debian-security") == ["https://a.example/debian-security", "file:///srv/all"]
    assert urls("debian-security", DEBIAN_SECURITY_MIRROR="http://s.example/x/") == [
        "http://s.example/x"
    ]


@pytest.mark.parametrize(
    "value", ["mirror.example/debian", "ftp://mirror.example/debian", "http:///x"]
)
def test_a_mirror_that_is_not_a_url_is_quoted_in_the_error(value: str) -> None:
    with pytest.raises(ToolError, match="DEBIAN_MIRROR: ") as error:
        archive_urls("debian", environ={"DEBIAN_MIRROR": value})
    assert repr(value) in str(error.value)


def test_an_unknown_archive_is_refused() -> None:
    with pytest.raises(ValueError, match="archive 'ubuntu' is not one of debian, debian-security"):
        archive_urls("ubuntu", environ={})


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("sources_list", "deb http://x.example/debian\n", "sources.list:1"),
        ("x_sources", "Types: deb\nURIs http://x.example\n", "x.sources:2"),
        ("x_sources", " Types: deb\n", "x.sources:1"),
    ],
)
def test_a_malformed_source_names_file_and_line(
    tmp_path: Path, name: str, text: str, line: str
) -> None:
    with pytest.raises(ToolError) as error:
        found(apt(tmp_path, **{name: text}))
    assert line in str(error.value)
    assert "set DEBIAN_MIRROR" in str(error.value)


def test_credentials_are_not_shown() -> None:
    assert redacted("https://user:p%40ss@host.example/debian") == "https://host.example/debian"
    assert redacted("https://host.example/a@b") == "https://host.example/a@b"
    with pytest.raises(ToolError) as error:
        archive_urls("debian", environ={"DEBIAN_MIRROR": "ftp://user:secret@host.example/debian"})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources_list", "deb http://user:secret@host.example/debian\n"),
        ("x_sources", "Types: deb\nURIs http://user:secret@host.example/debian\n"),
    ],
)
def test_credentials_in_a_malformed_source_are_not_shown(
    tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(ToolError) as error:
        found(apt(tmp_path, **{name: text}))
    assert "http://host.example/debian" in str(error.value)
    assert "secret" not in str(error.value)


def test_main_prints_both_archives_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEBIAN_MIRROR", raising=False)
    monkeypatch.delenv("DEBIAN_SECURITY_MIRROR", raising=False)
    assert main(["--apt-dir", str(apt(tmp_path, debian_sources=DEB822))]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "debian": ["http://one.example/debian", "https://two.example/debian"],
        "debian-security": ["http://one.example/debian-security"],
    }


def test_main_reports_a_bad_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBIAN_MIRROR", "nonsense")
    assert main([]) == 1
    assert "mirrors: DEBIAN_MIRROR: 'nonsense'" in capsys.readouterr().err


def test_a_long_word_takes_no_time_to_redact() -> None:
    assert redacted("a" * 200_000) == "a" * 200_000
    assert redacted("deb +https://me:pa/debian http://me:secret@host/debian") == (
        "deb +https://me:pa/debian http://host/debian"
    )
