"""`pytest_test`: a test that runs pytest on its sources."""

load("@pinned_image_pypi//:requirements.bzl", "requirement")
load("//tools:python_tool.bzl", "python_tool_test")

_MAIN = Label(":pytest_main.py")

# A Label, so that callers in other repositories get the pytest of our lock.
_PYTEST = Label(requirement("pytest"))

def pytest_test(name, srcs, deps = [], args = [], imports = [], size = "small", **kwargs):
    """Declare a test that runs pytest with this repository's own interpreter.

    Args:
      name: name of the target.
      srcs: files with tests; `conftest.py` and helper modules belong in `deps`.
      deps: libraries the tests import.
      args: further flags for pytest; may use $(location) of `data`.
      imports: import roots besides the repository's, relative to the package.
      size: Bazel's test size.
      **kwargs: further attributes of the test.
    """
    python_tool_test(
        name = name,
        size = size,
        srcs = [_MAIN] + srcs,
        args = args + ["$(rootpath {})".format(src) for src in srcs],
        main = _MAIN,
        deps = deps + [_PYTEST],
        imports = imports + ["/".join([".." for _ in native.package_name().split("/")])],
        **kwargs
    )
