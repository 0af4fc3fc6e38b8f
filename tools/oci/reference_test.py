"""How repositories and tags may be spelled."""

from __future__ import annotations

import pytest

from tools.oci.reference import (
    InvalidReferenceError,
    Repository,
    parse_repository,
    parse_tag,
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


def test_docker_hub_is_served_and_known_by_other_names() -> None:
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
def test_another_spelling_is_refused_and_quoted(text: str, message: str) -> None:
    with pytest.raises(InvalidReferenceError, match=message) as error:
        parse_repository(text)
    assert f"'{text}'" in str(error.value)


@pytest.mark.parametrize("tag", ["latest", "_x", "1.2-3", "x" * 128])
def test_a_tag_is_read(tag: str) -> None:
    assert parse_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", "-x", ".x", "a b", "a/b", "x" * 129, "ü"])
def test_another_tag_is_refused(tag: str) -> None:
    with pytest.raises(InvalidReferenceError, match=f"tag '{tag}' must be"):
        parse_tag(tag)
