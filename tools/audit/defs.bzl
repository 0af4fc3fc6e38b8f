"""What BUILD files load from here: what is behind, unsupported or vulnerable in an image."""

load(":image_audit.bzl", _image_audit = "image_audit")

image_audit = _image_audit
