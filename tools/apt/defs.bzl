"""Public rules of `tools/apt`: Debian packages to locks and image layers."""

load(":deb_layer.bzl", _deb_layer = "deb_layer")
load(":debian_lock.bzl", _debian_lock = "debian_lock")
load(":layer_policy.bzl", _layer_policy = "layer_policy")
load(":system_layer.bzl", _system_layer = "system_layer")

deb_layer = _deb_layer
debian_lock = _debian_lock
layer_policy = _layer_policy
system_layer = _system_layer
