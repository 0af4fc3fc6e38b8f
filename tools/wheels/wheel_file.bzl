"""`wheel_file`: one locked wheel as a repository, downloaded once per machine.

The file is looked up by hash in Bazel's repository cache, which every output base shares. On a miss the
index is asked, by pip: its configuration, proxies and credentials work as they do everywhere else on the
machine. What pip brought is entered into that cache. Wheels of a batch are asked for together.
"""

load(":fetch_wheels.bzl", "FETCH_ATTRS", "fetch_wheels", "is_cached")

_BUILD = """\
package(default_visibility = ["//visibility:public"])

filegroup(
    name = "whl",
    srcs = ["{filename}"],
)
"""

def _wheel_file_impl(ctx):
    wheel = struct(pin = ctx.attr.requirement, sha256 = ctx.attr.sha256, filename = ctx.attr.filename)
    cached = is_cached(ctx, wheel.filename, wheel.sha256)
    if not cached and ctx.attr.batch:
        ctx.path(Label(ctx.attr.batch))  # Makes Bazel fetch the batch, which fills the cache.
        cached = is_cached(ctx, wheel.filename, wheel.sha256)
    if not cached:
        fetch_wheels(ctx, [wheel])
    ctx.file("BUILD.bazel", _BUILD.format(filename = wheel.filename))

wheel_file = repository_rule(
    implementation = _wheel_file_impl,
    doc = "One wheel of a lock, as `:whl`. Declared by the `wheels.bzl` of `wheel_locks`.",
    attrs = FETCH_ATTRS | {
        # Not a label: then Bazel would fetch the batch even when the cache has the wheel.
        "batch": attr.string(doc = "Label of a file of the `wheel_batch` that this wheel is part of."),
        "filename": attr.string(mandatory = True, doc = "The wheel's file name."),
        "requirement": attr.string(mandatory = True, doc = "name==version"),
        "sha256": attr.string(mandatory = True, doc = "Hash of the file."),
    },
)
