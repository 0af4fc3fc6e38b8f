"""Public rules for registries: push an image, attach a file to one. `pull.bzl` is for the WORKSPACE."""

load(":attach.bzl", _oci_attach = "oci_attach")
load(":push.bzl", _oci_push = "oci_push", _oci_push_rule = "oci_push_rule")

oci_attach = _oci_attach
oci_push = _oci_push
oci_push_rule = _oci_push_rule
