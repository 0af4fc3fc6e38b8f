"""The repository rule for linters, for a WORKSPACE to load."""

load(":lint_sources.bzl", _lint_sources = "lint_sources")

lint_sources = _lint_sources
