"""What an image's configuration means when it is started."""

from __future__ import annotations

import pytest

from tools.cli import ToolError
from tools.container.config import (
    DEFAULT_PATH,
    RunConfig,
    User,
    image_stop_signal,
    may,
    process_env,
    read_run_config,
    resolve_user,
)

PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbroken line\n"
GROUP = "root:x:0:\napp:x:1001:\nvideo:x:44:app,other\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", User(0, 0, frozenset({0}), "root", "/root")),
        ("app", User(1000, 1001, frozenset({1001, 44}), "app", "/home/app")),
        ("1000", User(1000, 1001, frozenset({1001, 44}), "app", "/home/app")),
        ("app:video", User(1000, 44, frozenset({44}), "app", "/home/app")),
        ("1000:7", User(1000, 7, frozenset({7}), "app", "/home/app")),
        ("4321", User(4321, 0, frozenset({0}), "", "/")),
    ],
)
def test_users_resolve_as_engines_do(text: str, expected: User) -> None:
    assert resolve_user(text, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("nobody", "user 'nobody' is not in the image's /etc/passwd"),
        ("app:nogroup", "group 'nogroup' is not in the image's /etc/group"),
    ],
)
def test_names_the_image_does_not_know_are_errors(text: str, cause: str) -> None:
    with pytest.raises(ToolError, match=cause):
        resolve_user(text, PASSWD, GROUP)


def test_run_config_comes_from_the_config_section() -> None:
    settings = read_run_config(
        {
            "config": {
                "Env": ["A=1", "B=x=y"],
                "Entrypoint": ["/e"],
                "Cmd": ["c"],
                "WorkingDir": "/w",
                "User": "u",
                "StopSignal": "SIGINT",
                "Volumes": {"/d": {}},
                "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 2_500_000_000},
            }
        }
    )
    assert settings.env == {"A": "1", "B": "x=y"}
    assert settings.argv == ("/e", "c")
    assert (settings.workdir, settings.user, settings.stop_signal) == ("/w", "u", "SIGINT")
    assert settings.volumes == ("/d",)
    check = settings.healthcheck
    assert check is not None
    assert check.argv == ("/bin/sh", "-c", "true")
    assert (check.interval, check.timeout, check.retries) == (2.5, 30.0, 3)


def test_an_empty_configuration_has_the_engines_defaults() -> None:
    assert read_run_config({}) == RunConfig()


@pytest.mark.parametrize("test", [None, {"Test": []}, {"Test": ["NONE"]}])
def test_no_healthcheck_is_none(test: object) -> None:
    assert read_run_config({"config": {"Healthcheck": test}}).healthcheck is None


@pytest.mark.parametrize(
    ("section", "cause"),
    [
        ({"Env": ["A"]}, "the image's Env holds 'A', which is not KEY=VALUE"),
        ({"Healthcheck": {"Test": ["python3"]}}, "Healthcheck.Test is \\['python3'\\]"),
        (
            {"Healthcheck": {"Test": ["CMD", "x"], "Timeout": "3s"}},
            "Healthcheck.Timeout is '3s', not nanoseconds",
        ),
    ],
)
def test_malformed_configurations_are_errors(section: dict[str, object], cause: str) -> None:
    with pytest.raises(ToolError, match=cause):
        read_run_config({"config": section})


def test_the_environment_always_has_path_home_and_hostname() -> None:
    user = User(1, 1, home="/h")
    always = {"PATH": DEFAULT_PATH, "HOME": "/h", "HOSTNAME": "container"}
    assert process_env(RunConfig(), user, {}) == always
    assert process_env(RunConfig(), user, {}, hostname="me") == {**always, "HOSTNAME": "me"}
    own = RunConfig(env={"PATH": "/p", "A": "image", "HOSTNAME": "own"})
    assert process_env(own, user, {"A": "given"}) == {
        "PATH": "/p", "HOME": "/h", "HOSTNAME": "own", "A": "given",
    }  # fmt: skip


def test_an_images_shell_runs_its_healthcheck_line() -> None:
    section = {"Healthcheck": {"Test": ["CMD-SHELL", "true"]}, "Shell": ["/bin/bash", "-ec"]}
    check = read_run_config({"config": section}).healthcheck
    assert check is not None
    assert check.argv == ("/bin/bash", "-ec", "true")


@pytest.mark.parametrize(("text", "number"), [("SIGRTMIN+3", 37), ("TERM", 15), (None, 15)])
def test_an_images_stop_signal_is_read_by_dockers_rules(text: str | None, number: int) -> None:
    assert image_stop_signal(read_run_config({"config": {"StopSignal": text}})) == number


def test_an_unknown_stop_signal_is_an_error_when_it_is_needed() -> None:
    settings = read_run_config({"config": {"StopSignal": "HALT"}})
    with pytest.raises(ToolError, match="the image's StopSignal: 'HALT' is not a signal"):
        image_stop_signal(settings)


@pytest.mark.parametrize(
    ("mode", "owner", "bit", "allowed"),
    [
        (0o200, (1000, 0), 2, True),
        (0o022, (1000, 1000), 2, False),  # The owner's bits count although others have more.
        (0o020, (0, 44), 2, True),
        (0o002, (0, 1000), 2, False),
        (0o004, (0, 0), 4, True),
        (0o001, (0, 0), 4, False),
    ],
)
def test_permission_follows_the_first_class_that_applies(
    mode: int, owner: tuple[int, int], bit: int, allowed: bool
) -> None:
    user = User(1000, 1000, frozenset({1000, 44}))
    assert may(mode, owner=owner, user=user, bit=bit) is allowed


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ([1], "the image's configuration has the config [1], not an object"),
        ({"Env": [None]}, "the image's Env is [None]; expected a list of strings"),
        ({"Cmd": "sh"}, "the image's Cmd is 'sh'; expected a list of strings"),
        ({"User": 1000}, "the image's User is 1000; expected a string"),
        ({"Volumes": ["/a"]}, "the image's Volumes is ['/a']; expected an object"),
        (
            {"Healthcheck": {"Test": [1]}},
            "the image's Healthcheck.Test is [1]; expected a list of strings",
        ),
        (
            {"Healthcheck": {"Test": ["CMD", "a"], "Retries": "3"}},
            "the image's Healthcheck.Retries is '3', not a count",
        ),
    ],
)
def test_a_member_of_another_type_is_named(section: object, message: str) -> None:
    with pytest.raises(ToolError) as caught:
        read_run_config({"config": section})
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["²", "٣", "9" * 5000])
def test_a_user_is_a_number_only_in_ascii(text: str) -> None:
    with pytest.raises(ToolError, match="is not in the image's /etc/passwd"):
        resolve_user(text, "", "")
    with pytest.raises(ToolError, match="is not in the image's /etc/group"):
        resolve_user(f"0:{text}", "", "")
