"""Public rules of tools/container."""

load("//tools/container:container_run.bzl", _container_run = "container_run")
load("//tools/container:image_pytest.bzl", _image_pytest_test = "image_pytest_test")

container_run = _container_run
image_pytest_test = _image_pytest_test
