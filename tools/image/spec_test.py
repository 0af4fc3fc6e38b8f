"""The one JSON encoder, descriptors, and the two families of media types."""

from __future__ import annotations

from typing import Any

import pytest

from tools.image import spec
from tools.image.spec import Descriptor, SpecError

DIGEST = "sha256:" + "0" * 64
OCI = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker.image.rootfs.diff.tar"
OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"


def test_equal_values_have_equal_bytes_whatever_order_they_were_made_in() -> None:
    one = {"b": [1, {"y": None, "x": "é"}], "a": True}
    other = {"a": True, "b": [1, {"x": "é", "y": None}]}
    assert spec.encode_json(one) == spec.encode_json(other)
    assert spec.encode_json(one) == '{"a":true,"b":[1,{"x":"é","y":null}]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {1, 2}])
def test_a_value_that_json_cannot_express_is_refused(value: Any) -> None:
    with pytest.raises(SpecError, match="value cannot be written as JSON"):
        spec.encode_json({"x": value})


def test_a_descriptor_keeps_its_optional_members() -> None:
    value = {"mediaType": "t", "digest": DIGEST, "size": 3, "urls": ["https://x"]}
    descriptor = spec.parse_descriptor(value)
    assert descriptor == Descriptor("t", DIGEST, 3, (("urls", ["https://x"]),))
    assert descriptor.to_json() == value
    assert descriptor.member("urls") == ["https://x"]
    assert descriptor.member("platform") is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "a descriptor must be an object, found \\[\\]"),
        ({"digest": DIGEST, "size": 1}, "'mediaType' must be a string, found nothing"),
        ({"mediaType": "t", "digest": "md5:0", "size": 1}, "'digest' must be 'sha256:'"),
        ({"mediaType": "t", "digest": DIGEST.upper(), "size": 1}, "'digest' must be"),
        ({"mediaType": "t", "digest": DIGEST, "size": True}, "'size' must be a count of bytes"),
        ({"mediaType": "t", "digest": DIGEST, "size": "1"}, "found '1'"),
        ({"mediaType": "t", "digest": "x" * 500, "size": 1}, "found '" + "x" * 76 + r"\.\.\.$"),
    ],
)
def test_a_malformed_descriptor_is_refused_with_the_member(value: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec.parse_descriptor(value)


@pytest.mark.parametrize(
    ("oci", "docker", "compression"),
    [
        (OCI, DOCKER, "none"),
        (f"{OCI}+gzip", f"{DOCKER}.gzip", "gzip"),
        (f"{OCI}+zstd", f"{DOCKER}.zstd", "zstd"),
        (f"{OCI_FOREIGN}+gzip", f"{DOCKER_FOREIGN}.gzip", "gzip"),
    ],
)
def test_layer_types_translate_between_the_families(
    oci: str, docker: str, compression: str
) -> None:
    for media_type in (oci, docker):
        assert spec.layer_compression(media_type) == compression
        assert spec.convert_layer_type(media_type, docker=True) == docker
        assert spec.convert_layer_type(media_type, docker=False) == oci
    if "foreign" not in docker:
        assert spec.layer_media_type(compression, docker=True) == docker
        assert spec.layer_media_type(compression, docker=False) == oci


@pytest.mark.parametrize("media_type", [f"{OCI}+", f"{OCI}.gzip", f"{OCI}+xz", "text/plain"])
def test_other_types_are_not_layers(media_type: str) -> None:
    with pytest.raises(SpecError, match="is not a layer type"):
        spec.layer_compression(media_type)
    with pytest.raises(SpecError, match="unknown layer compression 'xz'"):
        spec.layer_media_type("xz", docker=False)
