"""The public API of rules_oci 2.x, provided by //tools/oci of this project.

Nothing is defined here, so that overriding the repository @rules_oci with upstream's own changes who
does the work and nothing else.
"""

load(
    "@pinned_image//tools/oci:defs.bzl",
    _oci_image = "oci_image",
    _oci_image_index = "oci_image_index",
    _oci_image_index_rule = "oci_image_index_rule",
    _oci_image_rule = "oci_image_rule",
    _oci_load = "oci_load",
    _oci_load_rule = "oci_load_rule",
    _oci_push = "oci_push",
    _oci_push_rule = "oci_push_rule",
)

oci_image = _oci_image
oci_image_index = _oci_image_index
oci_image_index_rule = _oci_image_index_rule
oci_image_rule = _oci_image_rule
oci_load = _oci_load
oci_load_rule = _oci_load_rule

# The name oci_load had in rules_oci 1.x; upstream keeps it.
oci_tarball_rule = _oci_load_rule
oci_push = _oci_push
oci_push_rule = _oci_push_rule
