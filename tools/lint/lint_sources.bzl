"""`lint_sources`: the text that linters and the tests of style read, as two file groups.

Globs end where a subpackage begins, and a list kept by hand forgets files. This repository watches the
directories and links what it finds, so a new file is linted without being named anywhere.
"""

load("//tools:source_files.bzl", "source_files")

_BUILD = """\
package(default_visibility = ["//visibility:public"])

filegroup(
    name = "python",
    srcs = glob(["**/*.py"]) + {scripts},
)

filegroup(
    name = "all",
    srcs = glob(["**"], exclude = ["BUILD.bazel"]),
)
"""

_SUFFIXES = (".bzl", ".ini", ".md", ".py", ".toml")

def _lint_sources_impl(ctx):
    root = ctx.path(ctx.attr._workspace).dirname
    found = source_files(ctx, root, ctx.attr.directories)
    for file in ctx.attr.files + ctx.attr.scripts + [file for file in found if file.endswith(_SUFFIXES)]:
        ctx.symlink(root.get_child(file), file)
    ctx.file("BUILD.bazel", _BUILD.format(scripts = repr(ctx.attr.scripts)))

lint_sources = repository_rule(
    implementation = _lint_sources_impl,
    doc = "Sources below some directories of the workspace: `:python` for the linters, `:all` with .bzl files and READMEs.",
    attrs = {
        "directories": attr.string_list(mandatory = True, doc = "Top-level directories to search."),
        "files": attr.string_list(doc = "Further files."),
        "scripts": attr.string_list(doc = "Python programs whose names do not end in .py."),
        "_workspace": attr.label(default = Label("//:WORKSPACE")),
    },
)
