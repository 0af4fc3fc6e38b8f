import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.bazel_root import ownership
from tools.bazel_root.ownership import check_owned, private_cache
from tools.cli import ToolError

STRANGER = 12345


@pytest.fixture(autouse=True)
def usual_umask() -> None:
    os.umask(0o022)


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a path another user's: really as the host's root, else in what lstat says of it."""

    def give(path: Path) -> None:
        if os.getuid() == 0 and not ownership._in_user_namespace():
            os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
            return
        real = os.lstat

        def lstat(step: str) -> os.stat_result:
            found = real(step)
            owner = STRANGER if step == str(path) else found.st_uid
            return os.stat_result((*found[:4], owner, *found[5:10]))

        monkeypatch.setattr(os, "lstat", lstat)

    return give


def test_the_cache_is_made_and_closed_to_others(tmp_path: Path) -> None:
    cache = tmp_path / "a" / "cache"
    private_cache(cache)
    assert cache.stat().st_mode & 0o777 == 0o700
    cache.chmod(0o755)
    private_cache(cache)
    assert cache.stat().st_mode & 0o777 == 0o700, "one of an earlier version is closed as well"


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match=r"cannot make the cache .*/file/cache: .*XDG_CACHE_HOME"):
        private_cache(tmp_path / "file" / "cache")


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o777)
    with pytest.raises(ToolError) as caught:
        check_owned(shared / "mine")
    assert str(caught.value).startswith(
        f"{shared} may be written by other users (mode 0777), who would decide what is in"
        f" {shared}/mine; set XDG_CACHE_HOME to a directory of your own"
    )


def test_a_sticky_directory_may_be_on_the_way_but_not_at_its_end(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "mine").mkdir(parents=True)
    shared.chmod(0o1777)
    check_owned(shared / "mine")
    with pytest.raises(ToolError, match=r"\(mode 1777\)"):
        check_owned(shared)


def test_a_group_of_ones_own_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o775)
    check = monkeypatch.setattr
    check(ownership, "_private_group", lambda _: True)
    check_owned(tmp_path)
    check(ownership, "_private_group", lambda _: False)
    with pytest.raises(ToolError, match=r"\(mode 0775\)"):
        check_owned(tmp_path)


def test_a_group_of_nobody_known_is_not_private() -> None:
    assert not ownership._private_group(54321)


def test_what_is_another_users_is_refused_whoever_runs_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_owned(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    expected = rf"belongs to user {os.getuid()}, who .*, and not to you \(user {STRANGER}\)"
    with pytest.raises(ToolError, match=expected):
        check_owned(tmp_path)


def test_what_another_user_has_made_is_refused(
    tmp_path: Path, give_away: Callable[[Path], None]
) -> None:
    planted = tmp_path / "pinned_image" / "roots" / "key"
    planted.mkdir(parents=True)
    give_away(planted)
    expected = (
        f"{planted} belongs to user {STRANGER}, who would decide what is in {planted}, and not to"
        f" you (user {os.geteuid()}); set XDG_CACHE_HOME to a directory of your own"
    )
    with pytest.raises(ToolError, match=re.escape(expected)):
        check_owned(planted)
    (planted / "usr").mkdir()
    with pytest.raises(ToolError, match=f"key belongs to user {STRANGER}"):
        check_owned(planted / "usr")


def test_a_link_of_another_user_is_refused_wherever_it_leads(
    tmp_path: Path, give_away: Callable[[Path], None]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine")
    check_owned(tmp_path / "link")
    give_away(tmp_path / "link")
    with pytest.raises(ToolError, match=f"link belongs to user {STRANGER}"):
        check_owned(tmp_path / "link")


def test_links_are_followed_and_their_targets_checked(tmp_path: Path) -> None:
    (tmp_path / "shared" / "below").mkdir(parents=True)
    (tmp_path / "relative").symlink_to("./shared/../shared")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative" / "below")
    check_owned(tmp_path / "absolute")
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(ToolError, match="shared may be written by other users"):
        check_owned(tmp_path / "absolute")


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ToolError, match="circle leads through too many links"):
        check_owned(tmp_path / "circle")
