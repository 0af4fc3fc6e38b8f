"""Public rules of `tools/wheels`: requirements to locks, wheels and sources to image layers."""

load(":python_lock.bzl", _python_lock = "python_lock")
load(":python_source_layer.bzl", _python_source_layer = "python_source_layer")
load(":wheel_layer.bzl", _wheel_layer = "wheel_layer")

python_lock = _python_lock
python_source_layer = _python_source_layer
wheel_layer = _wheel_layer
