"""Which paths a container's user may write or read, judged by the layers' headers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tools.cli import ToolError
from tools.container import plan as plan_module
from tools.container.config import User
from tools.container.plan import Access, Bind, Spec, access_of, make_plan
from tools.image.cache import Rootfs
from tools.image.tree import Entry, Tree

APP = User(1000, 1000, frozenset({1000}))


def tree_of(**entries: Entry) -> Tree:
    tree = Tree()
    for name, entry in entries.items():
        tree.put(tuple(name.split("__")), entry)
    return tree


def directory(mode: int, owner: int = 0) -> Entry:
    return Entry("dir", mode, owner, owner)


def file(mode: int, owner: int = 0) -> Entry:
    return Entry("file", mode, owner, owner)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (tree_of(usr=directory(0o755), usr__x=file(0o644)), []),
        (tree_of(data=directory(0o755, 1000)), [Access("/data", "rw", True)]),
        (tree_of(tmp=directory(0o1777)), [Access("/tmp", "rw", True)]),
        (
            tree_of(d=directory(0o777), d__e=directory(0o755), d__e__f=file(0o644)),
            [Access("/d", "rw", True), Access("/d/e", "ro", True)],
        ),
        (tree_of(log=file(0o644, 1000)), [Access("/log", "rw", False)]),
        (
            tree_of(d=directory(0o755, 1000), d__own=file(0o444, 1000), d__other=file(0o644)),
            [Access("/d", "rw", True), Access("/d/other", "ro", False)],
        ),
        (tree_of(shadow=file(0o640)), [Access("/shadow", "hidden", False)]),
        (
            tree_of(root=directory(0o700), root__x=file(0o666), rooted=file(0o644)),
            [Access("/root", "hidden", True)],
        ),
    ],
)
def test_rights_change_where_the_headers_say_so(tree: Tree, expected: list[Access]) -> None:
    assert list(access_of(tree, APP)) == expected


def spec(tree: Tree, **changes: Any) -> Spec:
    return Spec(**{"rootfs": Rootfs(Path("/nowhere"), tree), "user": APP, **changes})


def test_targets_are_resolved_inside_the_image(tmp_path: Path) -> None:
    tree = tree_of(app=directory(0o755), data=Entry("symlink", 0o777, linkname="../../app/data"))
    plan = make_plan(spec(tree, binds=(Bind(tmp_path, "/data/x"),)))
    assert plan.binds == ((str(tmp_path), "/app/data/x", False, True),)


SECRETS = tree_of(
    secret=file(0), d=directory(0o555, 7), mine=directory(0o755, 1000), top=directory(0o700)
)


@pytest.mark.parametrize(
    ("changes", "access", "writable_root"),
    [
        ({"user": User(0, 0)}, [], True),
        ({"user": User(0, 0), "read_only": True}, [], False),
        ({"capabilities": ("DAC_OVERRIDE",)}, [], True),
        ({"capabilities": ("DAC_READ_SEARCH",)}, ["/mine"], False),
        ({"read_only": True}, ["/secret", "/top"], False),
        ({}, ["/mine", "/secret", "/top"], False),
    ],
)
def test_root_and_the_capability_to_override_may_do_everything_that_is_not_read_only(
    changes: dict[str, Any],
    access: list[str],
    writable_root: bool,
) -> None:
    plan = make_plan(spec(SECRETS, **changes))
    assert sorted(item.path for item in plan.access) == access
    assert plan.writable_root == writable_root


VOLUMES = tree_of(
    full=directory(0o755, 1000),
    full__theirs=file(0o644),
    theirs=directory(0o755),
    secret=directory(0o700),
    link=Entry("symlink", 0o777, linkname="full"),
)


@pytest.mark.parametrize(
    ("changes", "made", "access"),
    [
        # As podman mounts them: a new one belongs to the user, others stay as they are.
        ({}, ("/data", "/full/new", "/secret/new"),
         ["/data rw", "/full rw", "/full/new rw", "/full/theirs ro", "/secret hidden"]),
        ({"read_only": True}, ("/data", "/full/new", "/secret/new"),
         ["/data rw", "/full rw", "/full/new rw", "/full/theirs ro", "/secret hidden"]),
        ({"user": User(0, 0), "read_only": True}, ("/data", "/full/new", "/secret/new"),
         ["/data rw", "/full rw", "/full/new rw", "/secret/new rw", "/theirs rw"]),
        ({"volumes": ()}, (), ["/full rw", "/full/theirs ro", "/secret hidden"]),
        ({"volumes": (), "read_only": True}, (), ["/secret hidden"]),
    ],
)  # fmt: skip
def test_declared_volumes_are_made_and_writable(
    changes: dict[str, Any], made: tuple[str, ...], access: list[str]
) -> None:
    volumes = ("/data", "/full", "/link/new", "/theirs", "/secret/new")
    plan = make_plan(spec(VOLUMES, **{"volumes": volumes, **changes}))
    assert plan.volumes == made
    assert [f"{item.path} {item.mode}" for item in plan.access] == access


@pytest.mark.parametrize(
    ("volume", "cause"),
    [
        ("data", "the mount target 'data' is not absolute"),
        ("/", "the image's volume '/' cannot be mounted: it must be a directory"),
        ("/full/theirs", "the image's volume '/full/theirs' cannot be mounted: it must be"),
        ("/full/theirs/x", "'/full/theirs/x': '/full/theirs' is not a directory"),
    ],
)
def test_a_volume_that_cannot_be_mounted_is_an_error(volume: str, cause: str) -> None:
    with pytest.raises(ToolError, match=re.escape(cause)):
        make_plan(spec(VOLUMES, volumes=(volume,)))


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"capabilities": ("SYS_TIME",)}, "capability 'SYS_TIME': cannot be given: it concerns"),
        ({"capabilities": ("cap_chown",)}, "'cap_chown': cannot be given: the container has one"),
        ({"capabilities": ("ALL",)}, "'ALL': cannot be given: it includes those that"),
        ({"capabilities": ("NET",)}, "capability 'NET': Linux has no such capability"),
        (
            {"capabilities": ("NET_RAW",), "network": "host"},
            "'NET_RAW': cannot be given: the network is the host's",
        ),
        ({"privileged": True, "network": "host"}, "privileged: not possible on the host's"),
        ({"tmpfs": ("data",)}, "the mount target 'data' is not absolute"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(changes: dict[str, Any], cause: str) -> None:
    with pytest.raises(ToolError, match=re.escape(cause)):
        make_plan(spec(Tree(), **changes))


def test_a_temporary_directory_is_given_only_to_images_that_have_none() -> None:
    assert make_plan(spec(Tree())).directories["tmp"] == "/tmp"
    assert "tmp" not in make_plan(spec(tree_of(tmp=directory(0o755)))).directories


@pytest.mark.parametrize(
    ("bind", "cause"),
    [
        (Bind(Path("/"), "data"), "the mount target 'data' is not absolute"),
        (Bind(Path("/no/such"), "/data"), "the mount source '/no/such' does not exist"),
        (Bind(Path("/"), "/file/x"), "'/file/x': '/file' is not a directory"),
    ],
)
def test_impossible_mounts_are_errors(bind: Bind, cause: str) -> None:
    with pytest.raises(ToolError, match=re.escape(cause)):
        make_plan(spec(tree_of(file=file(0o644)), binds=(bind,)))


def test_an_image_with_countless_owners_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "MAX_ACCESS", 2)
    tree = tree_of(a=file(0o600), b=file(0o600), c=file(0o600))
    with pytest.raises(ToolError, match=r"3 paths whose owner differs .* give '/c'"):
        make_plan(spec(tree))
