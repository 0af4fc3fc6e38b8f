"""Public rules and providers of `tools/archive`."""

load(":file_layer.bzl", _file_layer = "file_layer")
load(":layer_info.bzl", _LayerInfo = "LayerInfo")

LayerInfo = _LayerInfo
file_layer = _file_layer
