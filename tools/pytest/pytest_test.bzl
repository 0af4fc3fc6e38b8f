"""`pytest_test`: a test that runs pytest on its sources."""

load("@pinned_image_pypi//:requirements.bzl", "requirement")
load("@rules_python//python:defs.bzl", "py_test")

_MAIN = Label(":pytest_main.py")

# A Label, so that callers in other repositories get the pytest of our lock.
_PYTEST = Label(requirement("pytest"))

def pytest_test(name, srcs, deps = [], args = [], size = "small", **kwargs):
    """Declare a `py_test` whose tests are pytest's.

    Args:
      name: name of the target.
      srcs: files with tests; `conftest.py` and helper modules belong in `deps`.
      deps: libraries the tests import.
      args: further flags for pytest; may use $(location) of `data`.
      size: Bazel's test size.
      **kwargs: anything else `py_test` takes.
    """
    py_test(
        name = name,
        size = size,
        srcs = [_MAIN] + srcs,
        args = args + ["$(rootpath {})".format(src) for src in srcs],
        main = _MAIN,
        deps = deps + [_PYTEST],
        **kwargs
    )
