"""passwd and group hold root, nobody and who is asked for; nonsense is refused with a quote."""

import pytest

from tools.apt.users import group, parse_user, passwd
from tools.cli import ToolError


def test_root_and_nobody_are_always_there() -> None:
    assert passwd([]).decode().splitlines() == [
        "root:x:0:0::/root:/bin/sh",
        "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin",
    ]
    assert group([]) == b"root:x:0:\nnogroup:x:65534:\n"


def test_users_are_sorted_by_number_and_have_a_group() -> None:
    users = [parse_user("zed:1001:1000:/z:/bin/dash"), parse_user("app:1000:1000:/app")]
    assert passwd(users).decode().splitlines()[1:3] == [
        "app:x:1000:1000::/app:/bin/sh",
        "zed:x:1001:1000::/z:/bin/dash",
    ]
    assert group(users).decode().splitlines()[1] == "app:x:1000:"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("app", "not of the form"),
        ("app:1:1:/a:/b:/c", "not of the form"),
        ("App:1:1:/a", "'App' is not a user name"),
        ("a\nb:1:1:/a", "is not a user name"),
        ("app:-1:1:/a", "'-1' is not a uid"),
        ("app:1:\u0661:/a", "is not a uid"),
        ("app:4294967295:1:/a", "is not a uid"),
        ("app:1:1:a", "'a' is not an absolute path"),
        ("app:1:1:/a\nroot", "is not an absolute path"),
    ],
)
def test_a_user_that_makes_no_sense_is_refused(text: str, cause: str) -> None:
    with pytest.raises(ToolError, match=cause):
        parse_user(text)


@pytest.mark.parametrize("text", ["root:5:5:/x", "toor:0:0:/x", "nobody:7:7:/x"])
def test_a_name_or_number_is_taken_only_once(text: str) -> None:
    with pytest.raises(ToolError, match="taken already"):
        passwd([parse_user(text)])
