"""When two platforms are the same, and which image of an index is meant."""

from __future__ import annotations

import pytest

from tools.image.platform import (
    UNKNOWN,
    choose,
    index_platform,
    listing,
    normalize,
    platform_text,
    suits,
)


# containerd's own table (platforms_test.go, TestParseSelector), as far as it names an architecture.
@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm"),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/7", "linux/arm"),
        ("linux/armhf", "linux/arm"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/i386", "linux/386"),
        ("Linux/AMD64", "linux/amd64"),
        ("windows/amd64", "windows/amd64"),
        ("linux/s390x", "linux/s390x"),
        ("linux", "linux"),
    ],
)
def test_platforms_are_normalized_as_containerd_does(written: str, normal: str) -> None:
    assert normalize(written) == normal
    assert normalize(normal) == normal


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({"os": "linux", "architecture": "amd64", "variant": ""}, "linux/amd64"),
        ({"architecture": "amd64"}, "linux/amd64"),
        ({"os": "unknown", "architecture": "unknown"}, UNKNOWN),
        ({}, "linux/unknown"),
        (None, UNKNOWN),
        ("linux/amd64", UNKNOWN),
    ],
)
def test_a_platform_is_read_from_a_config_or_an_entry_of_an_index(
    members: object, text: str
) -> None:
    assert platform_text(members) == text


@pytest.mark.parametrize(
    ("found", "wanted", "result"),
    [
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v7", "linux/arm", True),
        # Many images do not state their variant.
        ("linux/arm", "linux/arm/v6", True),
        ("linux/amd64", "linux/amd64/v3", True),
        # One that does must have the right one.
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm/v6", "linux/arm", False),
        ("linux/amd64/v3", "linux/amd64", False),
        ("linux/amd64", "linux/arm64", False),
        ("windows/amd64", "linux/amd64", False),
        ("linux/riscv64", "linux", True),
        ("windows/amd64", "linux", False),
    ],
)
def test_a_single_image_must_be_for_the_platform(found: str, wanted: str, result: bool) -> None:
    assert suits(found, wanted) is result


OFFERS = ["linux/amd64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7", UNKNOWN]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/arm/v5", None),
        ("linux/amd64/v3", None),
        ("linux/s390x", None),
        ("linux", None),
    ],
)
def test_the_platform_chooses_from_an_index(wanted: str, found: str | None) -> None:
    assert choose(((name, name) for name in OFFERS), wanted) == found


def test_the_entry_that_is_spelled_alike_comes_first() -> None:
    offers = [("linux/arm64", 1), ("linux/arm64/v8", 2)]
    assert choose(offers, "linux/arm64/v8") == 2
    assert choose(reversed(offers), "linux/arm64") == 1


def test_a_message_lists_images_and_no_attestations() -> None:
    assert listing(OFFERS) == "linux/amd64, linux/arm64/v8, linux/arm/v6, linux/arm/v7"
    assert listing([UNKNOWN]) == "no platform"


def test_an_index_states_everything_that_tells_platforms_apart() -> None:
    config = {
        "architecture": "amd64",
        "os": "windows",
        "os.version": "10",
        "os.features": ["win32k"],
        "variant": "",
        "author": "me",
    }
    assert index_platform(config) == {
        "os": "windows",
        "architecture": "amd64",
        "os.version": "10",
        "os.features": ["win32k"],
    }
