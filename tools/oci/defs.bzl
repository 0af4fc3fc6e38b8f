"""Public rules that make images: the API of rules_oci 2.x, and `oci_image_config` and `image_labels` for what it lacks."""

load(":config.bzl", _oci_image_config = "oci_image_config")
load(":image.bzl", _oci_image = "oci_image", _oci_image_rule = "oci_image_rule")
load(":index.bzl", _oci_image_index = "oci_image_index", _oci_image_index_rule = "oci_image_index_rule")
load(":labels.bzl", _image_labels = "image_labels")
load(":load.bzl", _oci_load = "oci_load", _oci_load_rule = "oci_load_rule")

image_labels = _image_labels
oci_image = _oci_image
oci_image_config = _oci_image_config
oci_image_index = _oci_image_index
oci_image_index_rule = _oci_image_index_rule
oci_image_rule = _oci_image_rule
oci_load = _oci_load
oci_load_rule = _oci_load_rule
