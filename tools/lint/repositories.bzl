"""The repository rule for linters, for a WORKSPACE to load."""

load(":python_sources.bzl", _python_sources = "python_sources")

python_sources = _python_sources
