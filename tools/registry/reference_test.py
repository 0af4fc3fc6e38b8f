"""How repositories and tags may be spelled."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.cli import ToolError
from tools.image.names import parse_tag
from tools.registry.reference import (
    Reference,
    Repository,
    parse_reference,
    parse_repository,
)


@pytest.mark.parametrize(
    ("text", "host", "name"),
    [
        ("ghcr.io/a/b", "ghcr.io", "a/b"),
        ("localhost/a", "localhost", "a"),
        ("registry:5000/a__b/c-d.e", "registry:5000", "a__b/c-d.e"),
        ("[::1]:5000/a", "[::1]:5000", "a"),
        ("user/app", "index.docker.io", "user/app"),
        ("app", "index.docker.io", "library/app"),
        ("docker.io/app", "docker.io", "library/app"),
    ],
)
def test_a_repository_is_read(text: str, host: str, name: str) -> None:
    assert parse_repository(text) == Repository(host, name)


def test_docker_hub_has_other_hosts_for_server_and_credentials() -> None:
    hub = parse_repository("docker.io/user/app")
    assert (hub.server, hub.credentials_host) == ("registry-1.docker.io", "index.docker.io")
    other = parse_repository("ghcr.io/user/app")
    assert (other.server, other.credentials_host, str(other)) == (
        "ghcr.io",
        "ghcr.io",
        "ghcr.io/user/app",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h.io/a:tag", "must not have a tag"),
        ("h.io/a@sha256:00", "must not have a digest"),
        ("h.io/A", "'A' must be lower-case"),
        ("h.io/a//b", "'a//b' must be"),
        ("h.io/../a", "'../a' must be"),
        ("h.io/", "'' must be"),
        ("-h.io/a", "'-h.io' is not a host name"),
        ("h.io:x/a", "'h.io:x' is not a host name"),
        ("https://h.io/a", "'https:' is not a host name"),
    ],
)
def test_an_invalid_repository_is_refused_and_quoted(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message) as error:
        parse_repository(text)
    assert f"'{text}'" in str(error.value)


@pytest.mark.parametrize("text", ["me:s3cret@h.io/a", "https://me:s3cret@h.io/a", "s3cret@h.io/a"])
def test_a_password_in_a_repository_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ToolError, match="must not contain a user name or password") as error:
        parse_repository(text)
    assert "s3cret" not in str(error.value)


_WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
_PARTS = st.lists(_WORDS, min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([".", "_", "__", "-", "---"]).map(lambda joint: joint.join(words))
)
_NAMES = st.lists(_PARTS, min_size=1, max_size=4).map("/".join)
_HOSTS = st.one_of(
    st.just("localhost"),
    st.lists(_WORDS, min_size=2, max_size=3).map(".".join),
    st.tuples(_WORDS, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    st.sampled_from(["[::1]:5000", "10.0.0.1", "10.0.0.1:5000"]),
)


@given(_HOSTS, _NAMES)
def test_any_repository_of_the_specification_is_read_and_written_back(host: str, name: str) -> None:
    repository = parse_repository(f"{host}/{name}")
    assert (repository.host, repository.name) == (host, name)
    assert parse_repository(str(repository)) == repository


@given(st.text(max_size=40))
def test_any_other_text_is_refused_or_safe_in_a_url(text: str) -> None:
    try:
        repository = parse_repository(text)
    except ToolError:
        return
    assert re.fullmatch(r"[A-Za-z0-9.:\[\]-]+/[a-z0-9._/-]+", str(repository))
    assert ".." not in repository.name
    assert parse_repository(str(repository)) == repository


@given(st.text(string.ascii_letters + string.digits + "._-/ \n", max_size=140))
def test_a_tag_is_read_exactly_when_the_specification_allows_it(text: str) -> None:
    allowed = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
    if allowed.fullmatch(text):
        assert parse_tag(text) == text
    else:
        with pytest.raises(ToolError):
            parse_tag(text)


@pytest.mark.parametrize("tag", ["latest", "_x", "1.2-3", "x" * 128])
def test_a_tag_is_read(tag: str) -> None:
    assert parse_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", "-x", ".x", "a b", "a/b", "x" * 129, "ü"])
def test_an_invalid_tag_is_refused(tag: str) -> None:
    with pytest.raises(ToolError, match=f"tag '{tag}' must be"):
        parse_tag(tag)


_DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "host", "tag", "digest"),
    [
        ("h.io:5000/a", "h.io:5000", None, None),
        ("h.io:5000/a:v1", "h.io:5000", "v1", None),
        (f"h.io/a@{_DIGEST}", "h.io", None, _DIGEST),
        (f"h.io/a:v1@{_DIGEST}", "h.io", "v1", _DIGEST),
        ("[::1]:5000/a:v1", "[::1]:5000", "v1", None),
    ],
)
def test_a_reference_is_read(text: str, host: str, tag: str | None, digest: str | None) -> None:
    found = parse_reference(text)
    assert found == Reference(Repository(host, "a"), tag, digest)
    assert str(found) == text


def test_a_reference_without_a_host_is_one_of_docker_hub() -> None:
    assert parse_reference("app:v1") == Reference(
        Repository("index.docker.io", "library/app"), "v1"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h.io/a@sha256:0", "a digest must be 'sha256:' and 64"),
        ("h.io/a@sha512:00", "a digest must be 'sha256:' and 64"),
        ("h.io/a:-", "tag '-' must be 1 to 128"),
        ("h.io/A:v1", "'A' must be lower-case"),
        ("me:password@h.io/a:v1", "must not contain a user name or password"),
    ],
)
def test_an_invalid_reference_is_refused(text: str, message: str) -> None:
    with pytest.raises(ToolError, match=message) as error:
        parse_reference(text)
    assert "password@" not in str(error.value)
