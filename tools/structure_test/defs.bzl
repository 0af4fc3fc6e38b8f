"""Public rules of tools/structure_test."""

load(":container_structure_test.bzl", _container_structure_test = "container_structure_test")
load(":image_test.bzl", _image_test = "image_test")

container_structure_test = _container_structure_test
image_test = _image_test
