"""Configs, manifests, indexes and references: field by field, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tools.cli import ToolError
from tools.image.layout import Image
from tools.verify.config_difference import config_differences, manifest_differences
from tools.verify.difference import Weight
from tools.verify.index_difference import index_differences
from tools.verify.layers import Names
from tools.verify.subject import Entry, Subject, split_reference

_DIGEST = f"sha256:{'0' * 64}"


def image(**config: Any) -> Image:
    return Image("", "", {}, {"os": "linux", "architecture": "amd64", **config}, ())


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ({"Env": ["A=1"]}, {"Env": ["A=1", "B=2"]}, 'environment variable B: nothing → "2"'),
        (
            {"Env": ["A=1", "B=2"]},
            {"Env": ["B=2", "A=1"]},
            'environment (Env): the order: ["A=1", "B=2"] → ["B=2", "A=1"]',
        ),
        ({"Entrypoint": ["a"]}, {}, 'entrypoint (Entrypoint): ["a"] → nothing'),
        (
            {"StopSignal": "SIGINT"},
            {"StopSignal": "SIGTERM"},
            'stop signal (StopSignal): "SIGINT" → "SIGTERM"',
        ),
        (
            {"Healthcheck": {"Test": ["NONE"]}},
            {"Healthcheck": {"Test": ["CMD", "a"]}},
            'healthcheck Test: ["NONE"] → ["CMD", "a"]',
        ),
        ({}, {"Healthcheck": {"Retries": 3}}, "healthcheck Retries: nothing → 3"),
        ({"Labels": "odd"}, {"Labels": {}}, 'Labels: "odd" → {}'),
        ({"Unheard": 1}, {"Unheard": 2}, "Unheard: 1 → 2"),
    ],
)
def test_a_field_of_what_a_process_gets_is_named(
    old: dict[str, Any], new: dict[str, Any], text: str
) -> None:
    (found,) = config_differences(image(config=old), image(config=new))
    assert (found.weight, found.where, found.text) == (Weight.CONFIG, "config", text)


@pytest.mark.parametrize(
    ("old", "new", "text", "weight"),
    [
        ({}, {"variant": "v2"}, "platform: linux/amd64 → linux/amd64/v2", Weight.PLATFORM),
        (
            {"os.version": "10"},
            {"os.version": "11"},
            'os.version: "10" → "11"',
            Weight.PLATFORM,
        ),
        (
            {"created": "1970-01-01T00:00:00Z"},
            {"created": "2026-01-01T00:00:00Z"},
            'created: "1970-01-01T00:00:00Z" → "2026-01-01T00:00:00Z"',
            Weight.DOCUMENT,
        ),
        (
            {"history": [{"created_by": "a"}]},
            {"history": [{"created_by": "b"}]},
            "history, entry 1: a → b",
            Weight.DOCUMENT,
        ),
        (
            {"history": [{"created_by": "a"}]},
            {"history": [{"created_by": "a", "comment": "x"}]},
            'history, entry 1: {"created_by": "a"} → {"created_by": "a", "comment": "x"}',
            Weight.DOCUMENT,
        ),
        ({"history": [{}]}, {}, "history: 1 entries → 0", Weight.DOCUMENT),
        ({"config": None}, {"config": {"User": ""}}, "", Weight.CONFIG),
    ],
)
def test_a_field_of_the_image_is_named(
    old: dict[str, Any], new: dict[str, Any], text: str, weight: Weight
) -> None:
    found = [(each.text, each.weight) for each in config_differences(image(**old), image(**new))]
    assert found == ([(text, weight)] if text else [])


def test_a_long_value_is_shortened() -> None:
    (found,) = config_differences(image(author="a"), image(author="b" * 500))
    assert found.text == f'author: "a" → "{"b" * 196}...'


def test_annotations_and_media_types_of_a_manifest_are_named() -> None:
    old = replace(image(), manifest={"mediaType": "x", "annotations": {"a": "1"}})
    layers = [{"mediaType": "gzip"}, {"mediaType": "gzip"}]
    new = replace(image(), manifest={"mediaType": "y", "layers": layers})
    assert [each.text for each in manifest_differences(old, new)] == [
        'annotation a: "1" → nothing',
        'layers\' mediaType: "" → "gzip"',
        'mediaType: "x" → "y"',
    ]


def _index(*platforms: str, **members: object) -> Subject:
    entries = tuple(Entry(platform, _DIGEST, image) for platform in platforms)
    manifests = [{"digest": platform, "size": 1, **members} for platform in platforms]
    return Subject("", "layout", _DIGEST, entries, {"manifests": manifests, "schemaVersion": 2})


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (_index("a"), _index("a", "b"), "the image of b is in NEW only"),
        (_index("a", "b"), _index("b", "a"), "order of images: a, b → b, a"),
        (
            _index("a"),
            _index("a", annotations={"x": "y"}),
            "its entries state other media types, platforms, annotations or further manifests",
        ),
        (
            replace(_index("a"), index={"schemaVersion": 2, "mediaType": "x", "manifests": []}),
            replace(_index("a"), index={"schemaVersion": 2, "manifests": []}),
            "mediaType: x → nothing",
        ),
        (
            replace(_index("a"), digest=f"sha256:{'1' * 64}"),
            _index("a"),
            "lists other artifacts beside the same images, or is written in another encoding",
        ),
    ],
)
def test_what_differs_in_an_index_is_named(old: Subject, new: Subject, text: str) -> None:
    names = Names("OLD", "NEW")
    assert [each.text for each in index_differences(old, new, names=names)] == [text]


@pytest.mark.parametrize(
    ("text", "repository", "reference"),
    [
        ("app", "app", "latest"),
        ("app:v1", "app", "v1"),
        ("host:5000/app", "host:5000/app", "latest"),
        ("host:5000/app:v1", "host:5000/app", "v1"),
        (f"host/app@{_DIGEST}", "host/app", _DIGEST),
        (f"host:5000/app:v1@{_DIGEST}", "host:5000/app", _DIGEST),
        ("http://host:5000/app:v1", "http://host:5000/app", "v1"),
    ],
)
def test_a_reference_is_a_repository_and_a_tag_or_digest(
    text: str, repository: str, reference: str
) -> None:
    assert split_reference(text) == (repository, reference)


@pytest.mark.parametrize("text", ["app@sha256:12", f"app@{_DIGEST.upper()}", "app:a b", "app:"])
def test_an_invalid_reference_is_refused(text: str) -> None:
    with pytest.raises(ToolError):
        split_reference(text)
