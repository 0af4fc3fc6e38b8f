"""The repository rules for Python wheels, for a WORKSPACE to load."""

load("@rules_python//python:pip.bzl", "pip_parse")
load(":pip_tools.bzl", "pip_tools")
load(":wheel_locks.bzl", "wheel_locks")

def python_wheels(name, tools, image):
    """Declares the hubs of the wheel locks; needs `@cpython`.

    `@pypi` has the libraries of tools and tests for the machine that builds, `@pypi_<arch>` the wheels of
    the image. The wheels themselves are declared by `wheel_repositories` of `@<name>//:wheels.bzl`.

    Args:
      name: name of the repository that reads the locks.
      tools: locks of tools and tests, label to architecture.
      image: locks of the image, label to architecture.
    """
    pip_tools()
    wheel_locks(name = name, image = image, tools = tools)
    for hub in ["pypi"] + ["pypi_" + arch for arch in image.values()]:
        pip_parse(
            name = hub,
            incompatible_generate_aliases = True,
            python_interpreter_target = "@cpython//:python3",
            requirements_lock = "@{}//:{}.txt".format(name, hub),
        )
