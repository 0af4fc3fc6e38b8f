"""Where credentials are found, which win, and what is said when they are broken."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tools.cli import ToolError
from tools.registry.credentials import Credentials, find_credentials
from tools.registry.reference import parse_repository

REPOSITORY = parse_repository("reg.example:5000/team/app")
HOST = REPOSITORY.host


def _auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def _environ(tmp_path: Path, **files: Any) -> dict[str, str]:
    """The environment in which docker, registry and runtime files have the given content."""
    docker = tmp_path / "docker" / "config.json"
    registry = tmp_path / "auth.json"
    runtime = tmp_path / "run" / "containers" / "auth.json"
    for name, file in (("docker", docker), ("registry", registry), ("runtime", runtime)):
        if name in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            value = files[name]
            file.write_text(value if isinstance(value, str) else json.dumps(value))
    return {
        "DOCKER_CONFIG": str(docker.parent),
        "REGISTRY_AUTH_FILE": str(registry),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "PATH": f"{tmp_path}:/usr/bin:/bin",
    }


def _found(environ: dict[str, str], repository: str = str(REPOSITORY)) -> Credentials:
    found = find_credentials(parse_repository(repository), environ=environ)
    assert found is not None
    return found


def _helper(tmp_path: Path, script: str) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_without_any_file_there_are_no_credentials(tmp_path: Path) -> None:
    assert find_credentials(REPOSITORY, environ=_environ(tmp_path)) is None
    assert find_credentials(REPOSITORY, environ={}) is None


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"http://{HOST}/v1/", f"{HOST}/v2/"])
def test_a_host_is_found_under_every_spelling_docker_used(tmp_path: Path, key: str) -> None:
    found = _found(_environ(tmp_path, docker={"auths": {key: _auth("u", "p:q")}}))
    assert (found.username, found.password) == ("u", "p:q")
    assert found.source == f"{tmp_path}/docker/config.json ('{HOST}')"


def test_files_are_read_in_order_of_precedence(tmp_path: Path) -> None:
    files = {
        name: {"auths": {HOST: _auth(name, "p")}} for name in ("docker", "registry", "runtime")
    }
    assert _found(_environ(tmp_path, **files)).username == "docker"
    files["docker"] = {"auths": {"other.example": _auth("docker", "p")}}
    assert _found(_environ(tmp_path, **files)).username == "registry"
    files["registry"] = {}
    assert _found(_environ(tmp_path, **files)).username == "runtime"


def test_home_is_used_when_docker_has_no_directory_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    content = json.dumps({"auths": {HOST: _auth("home", "p")}})
    (tmp_path / ".docker" / "config.json").write_text(content)
    assert _found({"HOME": str(tmp_path)}).username == "home"


def test_the_most_specific_key_wins(tmp_path: Path) -> None:
    keys = {HOST: "host", f"{HOST}/team": "team", f"{HOST}/team/app": "app"}
    auths = {key: _auth(user, "p") for key, user in keys.items()}
    environ = _environ(tmp_path, registry={"auths": auths})
    for name, user in (("team/app", "app"), ("team/other", "team"), ("else", "host")):
        assert _found(environ, f"{HOST}/{name}").username == user


@pytest.mark.parametrize("namespace", ["v1", "v2"])
def test_credentials_of_a_namespace_stay_in_it_whatever_it_is_called(
    tmp_path: Path, namespace: str
) -> None:
    auths = {HOST: _auth("host", "p"), f"{HOST}/{namespace}": _auth("namespace", "q")}
    for order in (auths, dict(reversed(auths.items()))):
        environ = _environ(tmp_path, registry={"auths": order})
        assert _found(environ, f"{HOST}/{namespace}/app").username == "namespace"
        assert _found(environ, f"{HOST}/team/app").username == "host"
    environ = _environ(tmp_path, registry={"auths": {f"{HOST}/{namespace}": _auth("u", "p")}})
    assert find_credentials(parse_repository(f"{HOST}/team/app"), environ=environ) is None


def test_docker_hub_is_found_under_its_old_address(tmp_path: Path) -> None:
    auths = {"https://index.docker.io/v1/": _auth("hub", "p")}
    assert _found(_environ(tmp_path, docker={"auths": auths}), "docker.io/user/app").username == (
        "hub"
    )


def test_username_and_password_may_be_plain_members(tmp_path: Path) -> None:
    auths = {HOST: {"username": "u", "password": "p"}}
    assert _found(_environ(tmp_path, docker={"auths": auths})).basic() == "Basic dTpw"


def test_a_token_differs_from_a_password(tmp_path: Path) -> None:
    found = _found(_environ(tmp_path, docker={"auths": {HOST: {"identitytoken": "t"}}}))
    assert (found.identity_token, found.password) == ("t", "")
    _helper(tmp_path, """echo '{"Username": "<token>", "Secret": "t2"}'""")
    environ = _environ(tmp_path, docker={"credHelpers": {HOST: "test"}})
    assert _found(environ).identity_token == "t2"


def test_a_helper_precedes_the_file_and_gets_the_host(tmp_path: Path) -> None:
    _helper(
        tmp_path,
        """read -r host; echo "{\\"Username\\": \\"$1 $host\\", \\"Secret\\": \\"s\\"}" """,
    )
    config = {"credHelpers": {HOST: "test"}, "auths": {HOST: _auth("file", "p")}}
    found = _found(_environ(tmp_path, docker=config))
    assert found.username == f"get {HOST}"
    assert found.source == f"docker-credential-test (from {tmp_path}/docker/config.json)"


def test_a_store_has_the_secret_of_an_empty_entry(tmp_path: Path) -> None:
    _helper(tmp_path, """echo '{"Username": "stored", "Secret": "s"}'""")
    config = {"credsStore": "test", "auths": {HOST: {}}}
    assert _found(_environ(tmp_path, docker=config)).username == "stored"


def test_the_next_file_is_read_if_a_helper_has_no_credentials(tmp_path: Path) -> None:
    _helper(tmp_path, "echo 'credentials not found in native keychain'; exit 1")
    files = {"docker": {"credsStore": "test"}, "registry": {"auths": {HOST: _auth("next", "p")}}}
    assert _found(_environ(tmp_path, **files)).username == "next"


@pytest.mark.parametrize(
    ("config", "script", "message"),
    [
        ("{", "", "config.json: cannot be used: Expecting"),
        ("[]", "", "config.json: must contain a JSON object"),
        ({"auths": []}, "", None),
        ({"auths": [1]}, "", "config.json: member 'auths' must be an object"),
        ({"auths": {HOST: {"auth": "???"}}}, "", f"'auth' of '{HOST}' is not base64"),
        ({"auths": {HOST: {"auth": "dQ=="}}}, "", "is not user:password"),
        ({"credsStore": "absent"}, "", "docker-credential-absent is not on PATH; install it"),
        ({"credsStore": "../x"}, "", "'../x' is not the name of a credential helper"),
        ({"credsStore": "test"}, "echo locked; exit 1", f"failed for '{HOST}': locked"),
        ({"credsStore": "test"}, "exit 1", "no message"),
        ({"credsStore": "test"}, "echo secret-text", "did not print JSON with Username and Secret"),
    ],
)
def test_a_broken_file_or_helper_is_named_in_the_error(
    tmp_path: Path, config: Any, script: str, message: str | None
) -> None:
    _helper(tmp_path, script)
    environ = _environ(tmp_path, docker=config)
    if message is None:
        assert find_credentials(REPOSITORY, environ=environ) is None
        return
    with pytest.raises(ToolError) as error:
        find_credentials(REPOSITORY, environ=environ)
    assert message in str(error.value)
    assert "secret-text" not in str(error.value)


def test_secrets_are_not_in_the_repr() -> None:
    found = Credentials(source="s", username="u", password="pass-word", identity_token="tok-en")
    assert "pass-word" not in repr(found)
    assert "tok-en" not in repr(found)
    assert {"pass-word", "tok-en"} <= set(found.secrets())
