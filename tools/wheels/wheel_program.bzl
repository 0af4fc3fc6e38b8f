"""`wheel_program`: all wheels of a lock as one library, for a program of which nothing else is imported.

A program such as checkov has a hundred wheels, which are of no use one by one: here one pip unpacks them all.
"""

load("//tools/apt:compile_tree.bzl", "PYTHON_ENVIRONMENT")

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_library")

package(default_visibility = ["//visibility:public"])

# Programs of the wheels, by name.
exports_files(glob(["site-packages/bin/*"], allow_empty = True))

py_library(
    name = "libraries",
    data = ["site-packages"],  # one directory, as in `wheel_library`
    imports = ["site-packages"],
)
"""

def _wheel_program_impl(ctx):
    for label in ctx.attr.wheels:
        for wheel in ctx.path(label).dirname.readdir():
            if wheel.basename.endswith(".whl"):
                ctx.symlink(wheel, "wheels/" + wheel.basename)
    ctx.file("wanted.txt", "\n".join(ctx.attr.requirements))
    ctx.report_progress("unpacking {} wheels".format(len(ctx.attr.wheels)))
    result = ctx.execute(
        [
            ctx.path(ctx.attr._python),
            "-m",
            "pip",
            "install",
            "--find-links=wheels",
            "--no-cache-dir",
            "--no-compile",
            "--no-deps",
            "--no-index",
            "--no-warn-script-location",
            "--only-binary=:all:",
            "--quiet",
            "--require-hashes",
            "--requirement=wanted.txt",
            "--target=site-packages",
        ],
        environment = PYTHON_ENVIRONMENT | {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONPATH": str(ctx.path(ctx.attr._pip).dirname),
        },
        timeout = 1200,
    )
    if result.return_code:
        fail("@{}: pip could not unpack the wheels of the lock: {}".format(ctx.name, result.stderr.strip() or result.stdout.strip()))
    ctx.delete("wheels")
    ctx.delete("wanted.txt")
    ctx.file("BUILD.bazel", _BUILD)

wheel_program = repository_rule(
    implementation = _wheel_program_impl,
    doc = "The wheels of a lock, unpacked together as `:libraries`; programs are `:site-packages/bin/NAME`.",
    attrs = {
        "requirements": attr.string_list(mandatory = True, doc = "Each wheel's name==version and hash, as in the lock."),
        "wheels": attr.label_list(mandatory = True, doc = "The BUILD files of their `wheel_file` repositories."),
        "_pip": attr.label(default = "@pypi__pip//:BUILD.bazel"),
        "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
    },
)
