"""Provenance and signatures: the rules for BUILD files."""

load(":provenance.bzl", _image_provenance = "image_provenance", _image_statement = "image_statement")
load(":sign.bzl", _image_sign = "image_sign")

image_provenance = _image_provenance
image_sign = _image_sign
image_statement = _image_statement
