"""What BUILD files load from here: whether an image is the one that this checkout makes, and what differs."""

load(":golden_layers.bzl", _golden_layers = "golden_layers")
load(":image_diff.bzl", _image_diff = "image_diff")
load(":image_verify.bzl", _image_verify = "image_verify")

golden_layers = _golden_layers
image_diff = _image_diff
image_verify = _image_verify
