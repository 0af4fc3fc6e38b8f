"""What an image's configuration says about starting it: command, environment, user, healthcheck.

Sources: OCI image-spec config.md; the `Healthcheck` object as Docker's image specification has it
(durations are integer nanoseconds, 0 or absent means the engine's default).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.cli import ToolError
from tools.image.cache import Rootfs
from tools.image.tree import TreeError
from tools.linux.signals import parse_signal

HOSTNAME = "container"  # Unless the caller has another.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NANOSECONDS = 1_000_000_000
_LONGEST_ID = 10  # Digits of the largest uid.
# What each member of `config` must be if it is there, and how a message says so.
_KINDS: Mapping[str, type] = {
    "Cmd": list,
    "Entrypoint": list,
    "Env": list,
    "Healthcheck": dict,
    "Shell": list,
    "StopSignal": str,
    "User": str,
    "Volumes": dict,
    "WorkingDir": str,
}
_WANTED: Mapping[type, str] = {dict: "an object", list: "a list of strings", str: "a string"}


@dataclass(frozen=True)
class Healthcheck:
    """Seconds and counts as they apply at run time, engine defaults filled in."""

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    start_period: float = 0.0
    start_interval: float = 5.0
    retries: int = 3
    shell: tuple[str, ...] = ("/bin/sh", "-c")

    @property
    def argv(self) -> tuple[str, ...]:
        """The command to execute. `CMD-SHELL` goes through the image's `Shell`, as in Docker."""
        if self.test[0] == "CMD-SHELL":
            return self.shell + self.test[1:]
        return self.test[1:]


@dataclass(frozen=True)
class User:
    """Whom the image's processes run as, by number, with every group they belong to."""

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    name: str = ""
    home: str = "/"


@dataclass(frozen=True)
class RunConfig:
    """The part of the configuration that matters when the image is started."""

    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = ""
    volumes: tuple[str, ...] = ()
    stop_signal: str = "SIGTERM"  # As it is written; parse_signal reads it.
    healthcheck: Healthcheck | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """The command an engine starts when it is given none."""
        return self.entrypoint + self.cmd


def read_run_config(config: Mapping[str, Any]) -> RunConfig:
    """Read an image configuration (the whole JSON object). Raise ToolError."""
    section = config.get("config") or {}
    _check_kinds(section)
    env: dict[str, str] = {}
    for item in section.get("Env") or ():
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ToolError(f"the image's Env holds {item!r}, which is not KEY=VALUE")
        env[key] = value
    return RunConfig(
        env=env,
        entrypoint=tuple(section.get("Entrypoint") or ()),
        cmd=tuple(section.get("Cmd") or ()),
        workdir=section.get("WorkingDir") or "/",
        user=section.get("User") or "",
        volumes=tuple(section.get("Volumes") or ()),
        stop_signal=section.get("StopSignal") or "SIGTERM",
        healthcheck=_healthcheck(section.get("Healthcheck"), section.get("Shell")),
    )


def _check_kinds(section: Any) -> None:
    """Raise ToolError for a member of another type than the specification gives it."""
    if not isinstance(section, dict):
        raise ToolError(f"the image's configuration has the config {section!r}, not an object")
    for key, kind in _KINDS.items():
        value = section.get(key)
        texts = kind is not list or (
            isinstance(value, list) and all(isinstance(each, str) for each in value)
        )
        if value and not (isinstance(value, kind) and texts):
            raise ToolError(f"the image's {key} is {value!r}; expected {_WANTED[kind]}")


def _healthcheck(
    section: Mapping[str, Any] | None, shell: Sequence[str] | None
) -> Healthcheck | None:
    test = (section or {}).get("Test") or ()
    if not isinstance(test, list | tuple) or not all(isinstance(each, str) for each in test):
        raise ToolError(f"the image's Healthcheck.Test is {test!r}; expected {_WANTED[list]}")
    test = tuple(test)
    if not section or not test or test == ("NONE",):
        return None
    if test[0] not in ("CMD", "CMD-SHELL") or len(test) < 2:
        raise ToolError(
            f"the image's Healthcheck.Test is {list(test)!r}; expected ['CMD', program, ...] or "
            "['CMD-SHELL', line]"
        )
    default = Healthcheck(test)

    def seconds(key: str, fallback: float) -> float:
        value = section.get(key) or 0
        if not isinstance(value, int) or value < 0:
            raise ToolError(f"the image's Healthcheck.{key} is {value!r}, not nanoseconds")
        return value / NANOSECONDS or fallback

    retries = section.get("Retries") or default.retries
    if not isinstance(retries, int) or retries < 0:
        raise ToolError(f"the image's Healthcheck.Retries is {retries!r}, not a count")
    return Healthcheck(
        test=test,
        interval=seconds("Interval", default.interval),
        timeout=seconds("Timeout", default.timeout),
        start_period=seconds("StartPeriod", default.start_period),
        start_interval=seconds("StartInterval", default.start_interval),
        retries=retries,
        shell=tuple(shell or default.shell),
    )


def read_text(rootfs: Rootfs, path: str) -> str:
    """Return a small text file of the image, or ""; links are followed inside the image."""
    try:
        real = rootfs.tree.realpath(path)
    except TreeError:
        return ""
    entry = rootfs.tree.lookup(real)
    if entry is None or entry.kind != "file" or entry.size > 1 << 20:
        return ""
    return (rootfs.path / real[1:]).read_text("utf-8", "surrogateescape")


def image_user(rootfs: Rootfs, text: str) -> User:
    """Look a USER value up in the image's own /etc/passwd and /etc/group."""
    return resolve_user(text, read_text(rootfs, "/etc/passwd"), read_text(rootfs, "/etc/group"))


def resolve_user(text: str, passwd: str, group: str) -> User:
    """Resolve `user`, `uid`, `user:group` or `uid:gid`, as engines do; "" is root.

    `passwd` and `group` are the files' contents (passwd(5), group(5)). A number needs no entry;
    a name that has none raises ToolError. Supplementary groups count only when no group is
    given, which is Docker's rule.
    """
    wanted, _, wanted_group = text.partition(":")
    wanted = wanted or "0"
    accounts = [line.split(":") for line in passwd.split("\n") if line.count(":") >= 6]
    groups = [line.split(":") for line in group.split("\n") if line.count(":") >= 3]
    account = next((a for a in accounts if wanted in (a[0], a[2])), None)
    if account is not None and _is_number(account[2]) and _is_number(account[3]):
        uid, gid, name, home = int(account[2]), int(account[3]), account[0], account[5] or "/"
    elif _is_number(wanted):
        uid, gid, name, home = int(wanted), 0, "", "/"
    else:
        raise ToolError(f"user {wanted!r} is not in the image's /etc/passwd")
    extra: set[int] = set()
    if wanted_group:
        found = next((g for g in groups if wanted_group in (g[0], g[2])), None)
        if found is not None and _is_number(found[2]):
            gid = int(found[2])
        elif _is_number(wanted_group):
            gid = int(wanted_group)
        else:
            raise ToolError(f"group {wanted_group!r} is not in the image's /etc/group")
    elif name:
        extra = {int(g[2]) for g in groups if _is_number(g[2]) and name in g[3].split(",")}
    return User(uid, gid, frozenset({gid} | extra), name, home)


def _is_number(text: str) -> bool:
    """Return whether a text is a uid or gid; str.isdigit also accepts what int() refuses."""
    return text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID


def image_stop_signal(settings: RunConfig) -> int:
    """Return the number of the signal that stops the image; raise ToolError if there is none."""
    try:
        return parse_signal(settings.stop_signal)
    except ToolError as error:
        raise ToolError(f"the image's StopSignal: {error}") from error


def process_env(
    settings: RunConfig, user: User, extra: Mapping[str, str], *, hostname: str = HOSTNAME
) -> dict[str, str]:
    """Return the environment an engine gives a process.

    PATH, HOME and HOSTNAME are always there.
    """
    always = {"PATH": DEFAULT_PATH, "HOME": user.home, "HOSTNAME": hostname}
    return always | dict(settings.env) | dict(extra)


def may(tree_entry_mode: int, *, owner: tuple[int, int], user: User, bit: int) -> bool:
    """Return whether `user` has a permission by the classic rules (path_resolution(7)).

    `bit` is 4 (read), 2 (write) or 1 (execute, search). `owner` is (uid, gid).
    """
    if user.uid == owner[0]:
        return bool(tree_entry_mode >> 6 & bit)
    if owner[1] in user.groups or owner[1] == user.gid:
        return bool(tree_entry_mode >> 3 & bit)
    return bool(tree_entry_mode & bit)
