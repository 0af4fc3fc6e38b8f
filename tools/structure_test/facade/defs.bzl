"""Upstream's entry point: the rule of //tools/structure_test under the name people know."""

load(
    "@pinned_image//tools/structure_test:defs.bzl",
    _container_structure_test = "container_structure_test",
)

container_structure_test = _container_structure_test
