"""`wheel_library`: one wheel as a Python library, unpacked by rules_python's installer, with its bytecode.

The same targets as rules_python's `whl_library`, which starts pip for each wheel, a second of work, and writes no
bytecode: each of some hundred tests would compile pytest, and what else it imports, for itself.
"""

load("//tools/apt:compile_tree.bzl", "COMPILE_ATTR", "PYTHON_ENVIRONMENT", "compile_tree")

# Tests have one directory instead of its files, of which there are thousands: each would be a link in the sandbox. Tools
# that actions run have the files, for the reason in third_party/debian/cpython.BUILD.
_ANNOTATION = {
    # Programs of a wheel are files of its repository too.
    "additive_build_content": """\
exports_files(glob(["bin/*"], allow_empty = True))

filegroup(
    name = "library",
    srcs = select({{
        "{exec}": glob(
            ["site-packages/**"],
            allow_empty = True,
            exclude = ["**/* *", "**/*.dist-info/RECORD"],
        ),
        "//conditions:default": ["site-packages"],
    }}),
)
""".format(exec = Label("@pinned_image_cpython//:exec")),
    "copy_executables": {},
    "copy_files": {},
    "data": [":library"],
    "data_exclude_glob": ["site-packages/**"],
    "srcs_exclude_glob": ["site-packages/**"],
}

def _wheel_library_impl(ctx):
    wheel = [entry for entry in ctx.path(ctx.attr.wheel).dirname.readdir() if entry.basename.endswith(".whl")][0]
    ctx.symlink(wheel, wheel.basename)
    ctx.file("annotation.json", json.encode(_ANNOTATION))
    roots = [ctx.attr._rules_python, ctx.attr._installer, ctx.attr._pip]
    result = ctx.execute(
        [
            ctx.path(ctx.attr._python),
            "-P",
            ctx.path(ctx.attr._unpack_library),
            "--annotation=annotation.json",
            "--repo-prefix=" + ctx.attr.repo_prefix,
            "--requirement=" + ctx.attr.requirement,
            "--wheel=" + wheel.basename,
        ],
        environment = PYTHON_ENVIRONMENT | {"PYTHONPATH": ":".join([str(ctx.path(root).dirname) for root in roots])},
    )
    if result.return_code:
        fail("@{}: cannot unpack {}: {}".format(ctx.name, wheel.basename, result.stderr.strip() or result.stdout.strip()))
    ctx.delete("annotation.json")
    if ctx.path("site-packages").exists:
        compile_tree(ctx, ctx.path(ctx.attr._python), ["site-packages"])

wheel_library = repository_rule(
    implementation = _wheel_library_impl,
    doc = "A wheel as `:pkg`, with the targets of rules_python's `whl_library`; its programs are `:bin/NAME`.",
    attrs = COMPILE_ATTR | {
        "repo_prefix": attr.string(mandatory = True, doc = "The hub's name and an underscore."),
        "requirement": attr.string(mandatory = True, doc = "The wheel's line in the lock."),
        "wheel": attr.label(mandatory = True, doc = "The BUILD file of its `wheel_file`."),
        "_installer": attr.label(default = "@pypi__installer//:BUILD.bazel"),
        "_pip": attr.label(default = "@pypi__pip//:BUILD.bazel"),
        "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
        "_rules_python": attr.label(default = "@rules_python//:BUILD.bazel"),
        "_unpack_library": attr.label(default = Label("//tools/wheels:unpack_library.py")),
    },
)
