"""Public rules of tools/container."""

load("//tools/container:container_run.bzl", _container_run = "container_run")

container_run = _container_run
