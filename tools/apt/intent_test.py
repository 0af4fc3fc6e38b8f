from pathlib import Path

import pytest

from tools.apt.index import Suite
from tools.apt.intent import Intent, PathRule, read_intent
from tools.cli import ToolError

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


def test_a_suite_may_have_a_maximum_age(tmp_path: Path) -> None:
    intent = _read(tmp_path, _GOOD.replace("main}", "main, max_age_days: 30}"))
    assert [suite.max_age_days for suite in intent.suites] == [30]


def test_one_reason_may_stand_for_a_list_of_packages(tmp_path: Path) -> None:
    text = _GOOD.replace("{libc6: the C library}", "[libc6, libm], reason: the C library")
    text = text.replace("{dpkg: nothing is installed}", "[{reason: why, packages: [aa, bb]}]")
    intent = _read(tmp_path, text)
    assert intent.image[0].packages == {"libc6": "the C library", "libm": "the C library"}
    assert intent.exclude_packages == {"aa": "why", "bb": "why"}


def test_a_small_file_leaves_out_what_it_does_not_need(tmp_path: Path) -> None:
    text = "\n".join(_GOOD.splitlines()[:3]) + "\nimage: {base: {packages: {libc6: why}}}\n"
    intent = _read(tmp_path, text)
    assert intent.timestamp is None
    assert not intent.complete
    assert (intent.tools, intent.exclude_packages, intent.exclude_paths) == ((), {}, ())


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
        ("architectures: [amd64, arm64]\n", "", "architectures: field required"),
        ("tools:", "tols:", "tols: extra inputs are not permitted"),
        ("[amd64, arm64]", "[]", "architectures: list should have at least 1 item"),
        (
            "[amd64, arm64]",
            "[amd64, 7]",
            "architectures: 1: input should be a valid string, found 7",
        ),
        (
            "2020-01-02T00:00:00Z",
            "soon",
            "timestamp: input should be a valid datetime, found 'soon'",
        ),
        ("2020-01-02T00:00:00Z", "5", "timestamp: input should be a valid datetime, found 5"),
        ("2020-01-02T00:00:00Z", "2020-01-02T00:00:00", "input should have timezone info"),
        ("2020-01-02T00:00:00Z", "1969-01-02T00:00:00Z", "timestamp: is before 1970"),
        ("suite: bookworm, ", "", "suites: 0: suite: field required"),
        ("main}", "main, max_age_days: 0}", "suites: 0: max_age_days: input should be greater"),
        ("libc6: the C library", "libc6: ", "image: base: packages: libc6: input should be"),
        ("libc6: the C library", "libc6: ''", "image: base: packages: libc6: string should match"),
        ("{packages: {ffmpeg: video}}", "{}", "image: media: packages: field required"),
        ("{packages: {ffmpeg: video}}", "{package: {}}", "image: media: package: extra inputs"),
        (
            "{libc6: the C library}",
            "[libc6]",
            "image: base: packages: input should be a valid dict",
        ),
        ("{libc6: the C library}", "[libc6], reason: ''", "image: base: packages: libc6: string"),
        ("{libc6: the C library}", "[aa, aa], reason: x", "image: base: packages: named twice: aa"),
        (
            "{packages: {ffmpeg: video}}",
            "{packages: {ff: v}, exclude_packages: {aa: b}}",
            "at the top level for the image",
        ),
        ("{ffmpeg: video}", "{libc6: video}", "image: base and media both name libc6"),
        ("media:", "base:", "written twice: base"),
        (
            "dpkg: nothing is installed",
            "dpkg: yes",
            "exclude_packages: dpkg: input should be a valid",
        ),
        (
            "{reason: documentation, globs",
            "{reason: documentation, glob",
            "0: globs: field required",
        ),
        ("{reason: documentation, ", "{", "exclude_paths: 0: reason: field required"),
        (
            "[usr/share/man/**,",
            '["usr/bin/[",',
            "exclude_paths: 0: globs: 0: glob 'usr/bin/[': '['",
        ),
        ("suites:", "suites: [", "while parsing"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_file_and_key(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in _GOOD
    with pytest.raises(ToolError) as caught:
        _read(tmp_path, _GOOD.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path}/intent.yaml: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"none\.yaml: .*No such file"):
        read_intent(tmp_path / "none.yaml")
