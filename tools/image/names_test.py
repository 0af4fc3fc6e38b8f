"""Names of images, as engines take them and as they refuse them."""

from __future__ import annotations

import re

import pytest

from tools.cli import ToolError
from tools.image.names import check_image_name, split_host


@pytest.mark.parametrize(
    ("text", "host", "name"),
    [
        ("app", "", "app"),
        ("team/app", "", "team/app"),
        ("registry.example/app", "registry.example", "app"),
        ("localhost/app", "localhost", "app"),
        ("r:5000/app", "r:5000", "app"),
        ("H/app", "H", "app"),
        ("[::1]:5000/app", "[::1]:5000", "app"),
        ("localhost", "", "localhost"),
    ],
)
def test_the_first_part_is_a_host_if_no_repository_begins_like_that(
    text: str, host: str, name: str
) -> None:
    assert split_host(text) == (host, name)


@pytest.mark.parametrize(
    "text", ["app:1", "h/zero:1", "H/zero:1", "localhost:5000/a/b__c:T_.-", "r.example/a.b-c:v1"]
)
def test_a_name_with_a_tag_is_accepted(text: str) -> None:
    check_image_name(text, tag_needed=True)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("H/Zero:1", "image name 'H/Zero:1': 'Zero' must be lower-case letters and digits"),
        ("h/Zero:1", "image name 'h/Zero:1': 'h/Zero' must be lower-case letters and digits"),
        ("h/zero", "image name 'h/zero' has no tag; write 'h/zero:latest', for instance"),
        ("app:", "tag '' must be 1 to 128 letters"),
        ("app:-1", "tag '-1' must be 1 to 128 letters"),
        ("a.b_:1/app:1", "image name 'a.b_:1/app:1': 'a.b_:1' is not a host name"),
        (":1", "image name ':1': '' must be lower-case letters and digits"),
        ("app@sha256:0", "image name 'app@sha256:0' must not have a digest"),
    ],
)
def test_a_name_that_engines_refuse_is_an_error(text: str, cause: str) -> None:
    with pytest.raises(ToolError, match=re.escape(cause)):
        check_image_name(text, tag_needed=True)


def test_an_oci_archive_needs_no_tag() -> None:
    check_image_name("h/zero", tag_needed=False)
