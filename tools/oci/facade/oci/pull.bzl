"""oci_pull of rules_oci 2.x, provided by //tools/oci of this project."""

load("@pinned_image//tools/oci:pull.bzl", _oci_pull = "oci_pull")

oci_pull = _oci_pull
