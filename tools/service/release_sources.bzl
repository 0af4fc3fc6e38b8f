"""`release_sources`: the files of a release, each under its path and `.src`, so that no BUILD file among them counts."""

load("//tools:source_files.bzl", "source_files")

_BUILD = """\
package(default_visibility = ["//visibility:public"])

_FILES = glob(["**/*.src", "**/.*.src"])

exports_files(_FILES)

filegroup(
    name = "all",
    srcs = _FILES,
)
"""

def _release_sources_impl(ctx):
    root = ctx.path(ctx.attr._top).dirname
    for file in ctx.attr.files + source_files(ctx, root, ctx.attr.directories):
        ctx.symlink(root.get_child(file), file + ".src")
    ctx.file("BUILD.bazel", _BUILD)

release_sources = repository_rule(
    implementation = _release_sources_impl,
    doc = "Files of the workspace, as `:all`.",
    attrs = {
        "directories": attr.string_list(mandatory = True, doc = "Directories of the top level, whole."),
        "files": attr.string_list(mandatory = True, doc = "Files of the top level."),
        "_top": attr.label(default = Label("//:BUILD.bazel")),
    },
)
