"""What BUILD files load from here."""

load(":pytest_test.bzl", _pytest_test = "pytest_test")
load(":python_source_layer.bzl", _python_source_layer = "python_source_layer")
load(":wheel_layer.bzl", _wheel_layer = "wheel_layer")

pytest_test = _pytest_test
python_source_layer = _python_source_layer
wheel_layer = _wheel_layer
