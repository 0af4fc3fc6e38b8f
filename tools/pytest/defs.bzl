"""Public macros: pytest on this machine, and pytest inside an image."""

load(":image_pytest_test.bzl", _image_pytest_test = "image_pytest_test")
load(":pytest_test.bzl", _pytest_test = "pytest_test")

image_pytest_test = _image_pytest_test
pytest_test = _pytest_test
