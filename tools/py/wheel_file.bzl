"""`wheel_file`: one locked wheel as a repository, downloaded once per machine.

The file is looked up by hash in Bazel's repository cache, which every output base shares, and only then
asked of the index, by pip: its configuration, proxies and credentials work as they do everywhere else on the
machine. What pip brought is entered into the cache, under the same hash.
"""

_BUILD = """\
package(default_visibility = ["//visibility:public"])

exports_files(["annotation.json"])

filegroup(
    name = "whl",
    srcs = ["{filename}"],
)
"""

# For rules_python's whl_library: programs of a wheel are files of its repository too.
_ANNOTATION = {
    "additive_build_content": "exports_files(glob([\"bin/*\"], allow_empty = True))",
    "copy_executables": {},
    "copy_files": {},
    "data": [],
    "data_exclude_glob": [],
    "srcs_exclude_glob": [],
}

def _fetch(ctx):
    """Asks the index, by pip, and leaves the wheel in the repository and in the repository cache."""
    ctx.report_progress("asking the package index for " + ctx.attr.filename)
    result = ctx.execute(
        [
            ctx.path(ctx.attr._python),
            ctx.path(ctx.attr._fetch_wheel),
            "--requirement=" + ctx.attr.requirement,
            "--sha256=" + ctx.attr.sha256,
            "--filename=" + ctx.attr.filename,
            "--pip={}".format(ctx.path(ctx.attr._pip).dirname),
            "--output={}".format(ctx.path("download")),
        ],
        environment = {"PYTHONPATH": str(ctx.path(ctx.attr._workspace).dirname)},
        timeout = 2400,
    )
    if result.return_code:
        fail("@{}: {}".format(ctx.name, result.stderr.strip() or result.stdout.strip()))

    # Through Bazel's own downloader, which compares the hash once more and fills the cache.
    downloaded = ctx.path("download/" + ctx.attr.filename)
    ctx.download("file://{}".format(downloaded), ctx.attr.filename, sha256 = ctx.attr.sha256)
    ctx.delete("download")

def _wheel_file_impl(ctx):
    # No address: this only asks the repository cache.
    if not ctx.download([], ctx.attr.filename, sha256 = ctx.attr.sha256, allow_fail = True).success:
        _fetch(ctx)
    ctx.file("BUILD.bazel", _BUILD.format(filename = ctx.attr.filename))
    ctx.file("annotation.json", json.encode(_ANNOTATION))

wheel_file = repository_rule(
    implementation = _wheel_file_impl,
    doc = "One wheel of a lock, as `:whl`. Declared by the `wheels.bzl` of `wheel_locks`.",
    attrs = {
        "filename": attr.string(mandatory = True, doc = "The wheel's file name."),
        "requirement": attr.string(mandatory = True, doc = "name==version"),
        "sha256": attr.string(mandatory = True, doc = "Hash of the file."),
        "_fetch_wheel": attr.label(default = "//tools/py:fetch_wheel.py"),
        "_pip": attr.label(default = "@pypi__pip//:BUILD.bazel"),
        "_python": attr.label(default = "@cpython//:python3"),
        "_settings": attr.label(default = "//tools/py:pip_settings.py"),
        "_workspace": attr.label(default = "//:WORKSPACE"),
    },
)
