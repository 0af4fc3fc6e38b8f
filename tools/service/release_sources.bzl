"""`release_sources`: the files of a release, each under its path and `.src`, so that no BUILD file among them counts."""

_BUILD = """\
filegroup(
    name = "all",
    srcs = glob(["**/*.src", "**/.*.src"]),
    visibility = ["//visibility:public"],
)
"""

# Left behind by tools that people run.
_IGNORED = ["__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"]
_MAX_DIRECTORIES = 10000

def _release_sources_impl(ctx):
    root = ctx.path(ctx.attr._top).dirname
    for file in ctx.attr.files:
        ctx.symlink(root.get_child(file), file + ".src")
    for directory in ctx.attr.directories:
        ctx.watch_tree(root.get_child(directory))
    pending = list(ctx.attr.directories)
    for _ in range(_MAX_DIRECTORIES):
        if not pending:
            break
        for entry in root.get_child(pending.pop()).readdir(watch = "no"):
            relative = str(entry).removeprefix(str(root) + "/")
            if not entry.is_dir:
                ctx.symlink(entry, relative + ".src")
            elif entry.basename not in _IGNORED and not entry.basename.startswith("bazel-"):
                pending.append(relative)
    if pending:
        fail("more than {} directories below {}".format(_MAX_DIRECTORIES, ", ".join(ctx.attr.directories)))
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
