"""The repositories that rules_python's wheel installer imports from, without the addresses upstream gives them.

rules_python declares `pypi__*` from fixed addresses on one host. Declared here first, they hold the pip,
setuptools and wheel that Debian packages as wheels, and the `installer` of our own lock. The rest serve rules_python's
`compile_pip_requirements` and `whl_library` only, which `python_lock` and `wheel_library` replace; they exist, empty,
because rules_python would declare them.
"""

load("@rules_python//python/pip_install:repositories.bzl", "all_requirements")
load("//tools/apt:compile_tree.bzl", "COMPILE_ATTR", "compile_tree")
load(":names.bzl", "canonical")

# Wheel → the directories in it that rules_python's wheel installer imports.
_BUNDLED = {
    "pip": ["pip"],
    "setuptools": [],
    "wheel": [],
}

_PYTHON_ATTRS = COMPILE_ATTR | {
    "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
}

def _extract_wheel(ctx, wheel, compiled_directories):
    # Bazel knows an archive's kind by its name.
    ctx.symlink(wheel, "wheel.zip")
    ctx.extract("wheel.zip")
    ctx.delete("wheel.zip")
    if compiled_directories:
        compile_tree(ctx, ctx.path(ctx.attr._python), compiled_directories)
    ctx.file("BUILD.bazel", "")

def _bundled_wheel_impl(ctx):
    directory = ctx.path(ctx.attr._python).dirname.get_child("usr").get_child("share").get_child("python-wheels")
    found = [
        entry
        for entry in (directory.readdir() if directory.exists else [])
        if entry.basename.startswith(ctx.attr.package + "-") and entry.basename.endswith(".whl")
    ]
    if len(found) != 1:
        fail("{}: wanted one {}-*.whl, found {}; the group of Debian packages that {} unpacks needs python3-{}-whl".format(
            directory,
            ctx.attr.package,
            [entry.basename for entry in found],
            ctx.attr._python,
            ctx.attr.package,
        ))
    _extract_wheel(ctx, found[0], _BUNDLED[ctx.attr.package])

bundled_wheel = repository_rule(
    implementation = _bundled_wheel_impl,
    doc = "A wheel that Debian ships for bootstrapping environments, unpacked.",
    attrs = _PYTHON_ATTRS | {
        "package": attr.string(mandatory = True, doc = "Name of the Python package."),
    },
)

def _unpacked_wheel_impl(ctx):
    directory = ctx.path(ctx.attr.wheel).dirname
    wheels = [entry for entry in directory.readdir() if entry.basename.endswith(".whl")]
    _extract_wheel(ctx, wheels[0], ctx.attr.compiled_directories)

unpacked_wheel = repository_rule(
    implementation = _unpacked_wheel_impl,
    doc = "A `wheel_file` unpacked.",
    attrs = _PYTHON_ATTRS | {
        "compiled_directories": attr.string_list(doc = "Directories of modules to write bytecode for."),
        "wheel": attr.label(mandatory = True, doc = "The BUILD file of the `wheel_file` repository."),
    },
)

def _unused_library_impl(ctx):
    ctx.file("BUILD.bazel", "# Only rules_python's compile_pip_requirements would import it; see tools/wheels/pip_tools.bzl.\n")

unused_library = repository_rule(
    implementation = _unused_library_impl,
    doc = "An empty repository where rules_python expects one.",
)

def pip_tools():
    """Declare every repository of rules_python's `all_requirements`."""
    for repository in all_requirements:
        package = repository.removeprefix("pypi__")
        if package in _BUNDLED:
            bundled_wheel(name = repository, package = package)
        elif package == "installer":
            unpacked_wheel(
                name = repository,
                compiled_directories = ["installer"],
                wheel = "@@{}//:BUILD.bazel".format(canonical("pinned_image_pypi_installer_wheel")),
            )
        else:
            unused_library(name = repository)
