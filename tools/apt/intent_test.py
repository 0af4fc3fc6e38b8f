from pathlib import Path

import pytest

from tools.apt.index import Suite
from tools.apt.intent import Intent, IntentError, PathRule, read_intent

_GOOD = """\
suites:
  - {archive: debian, suite: bookworm, component: main}
architectures: [amd64, arm64]
timestamp: 2020-01-02T00:00:00Z
image:
  base: {packages: {libc6: the C library}}
  media: {packages: {ffmpeg: video}}
exclude_packages: {dpkg: nothing is installed}
exclude_paths:
  - {reason: documentation, globs: [usr/share/man/**, "!usr/share/man/keep"]}
tools:
  first: {packages: {redis: a broker}, exclude_packages: &shared {perl: scripts}}
  second: {packages: {postgres: a database}, exclude_packages: {<<: *shared, tar: packing}}
"""


def _read(directory: Path, text: str) -> Intent:
    path = directory / "intent.yaml"
    path.write_text(text, encoding="utf-8")
    return read_intent(path)


def test_everything_in_the_file_is_read(tmp_path: Path) -> None:
    intent = _read(tmp_path, _GOOD)
    assert intent.suites == (Suite(archive="debian", name="bookworm", component="main"),)
    assert intent.architectures == ("amd64", "arm64")
    assert intent.timestamp == 1577923200
    assert [group.name for group in intent.image] == ["base", "media"]
    assert intent.requested() == ("libc6", "ffmpeg")
    assert intent.exclude_packages == {"dpkg": "nothing is installed"}
    assert intent.exclude_paths == (
        PathRule("usr/share/man/**", "documentation"),
        PathRule("!usr/share/man/keep", "documentation"),
    )


def test_exclusions_can_be_shared_by_yaml_anchors(tmp_path: Path) -> None:
    second = _read(tmp_path, _GOOD).tools[1]
    assert second.exclude_packages == {"perl": "scripts", "tar": "packing"}


def test_comments_and_layout_do_not_change_the_digest_and_content_does(tmp_path: Path) -> None:
    digest = _read(tmp_path, _GOOD).sha256
    assert _read(tmp_path, "# a comment\n" + _GOOD).sha256 == digest
    assert _read(tmp_path, _GOOD.replace("ffmpeg", "ffprobe")).sha256 != digest


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("architectures: [amd64, arm64]\n", "", "the file: wants the keys"),
        ("tools:", "tols:", "the file: wants the keys"),
        ("[amd64, arm64]", "[]", "architectures: wants a list that is not empty, found []"),
        ("[amd64, arm64]", "[amd64, 7]", "architectures: wants text, found 7"),
        ("2020-01-02T00:00:00Z", "soon", "timestamp: wants a time since 1970 such as"),
        ("2020-01-02T00:00:00Z", "2020-01-02T00:00:00", "timestamp: wants a time"),
        ("2020-01-02T00:00:00Z", "1969-01-02T00:00:00Z", "timestamp: wants a time"),
        ("suite: bookworm, ", "", "suites: wants the keys"),
        ("libc6: the C library", "libc6: ", "image: base: packages: the reason of libc6"),
        ("{packages: {ffmpeg: video}}", "{}", "image: media: wants packages"),
        ("{packages: {ffmpeg: video}}", "{package: {}}", "found ['package']"),
        ("{libc6: the C library}", "[libc6]", "image: base: packages: wants names and values"),
        (
            "{packages: {ffmpeg: video}}",
            "{packages: {ff: v}, exclude_packages: {aa: b}}",
            "at the top level for the image",
        ),
        ("media:", "base:", "written twice: base"),
        ("dpkg: nothing is installed", "dpkg: yes", "the reason of dpkg: wants text, found True"),
        (
            "{reason: documentation, globs",
            "{reason: documentation, glob",
            "exclude_paths: wants the keys",
        ),
        ("[usr/share/man/**,", '["usr/bin/[",', "exclude_paths: glob 'usr/bin/[': '[' without"),
        ("suites:", "suites: [", "while parsing"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_file_and_key(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in _GOOD
    with pytest.raises(IntentError) as caught:
        _read(tmp_path, _GOOD.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path}/intent.yaml: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntentError, match=r"none\.yaml: .*No such file"):
        read_intent(tmp_path / "none.yaml")
