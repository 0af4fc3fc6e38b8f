"""`python_sources`: every Python file of the workspace as one file group, for the linters.

Globs end where a subpackage begins, and a list kept by hand forgets files. This repository watches the
directories and links what it finds, so a new file is linted without a line anywhere.
"""

_BUILD = """\
filegroup(
    name = "all",
    srcs = glob(["**"], exclude = ["BUILD.bazel"]),
    visibility = ["//visibility:public"],
)
"""

# Starlark has no unbounded loop; this is far above the number of directories.
_MAX_DIRECTORIES = 10000

def _python_files(root, directory):
    """Returns the paths, relative to `root`, of the Python files below `directory`."""
    found = []
    pending = [directory]
    for _ in range(_MAX_DIRECTORIES):
        if not pending:
            return found

        for entry in root.get_child(pending.pop()).readdir(watch = "no"):
            relative = str(entry).removeprefix(str(root) + "/")
            if entry.is_dir:
                if entry.basename != "__pycache__":
                    pending.append(relative)
            elif relative.endswith(".py"):
                found.append(relative)
    fail("more than {} directories below {}".format(_MAX_DIRECTORIES, directory))

def _python_sources_impl(ctx):
    root = ctx.path(ctx.attr._workspace).dirname
    files = list(ctx.attr.scripts)
    for directory in ctx.attr.directories:
        # From above: Bazel takes a watched directory that is gone for a broken file system.
        ctx.watch_tree(root.get_child(directory))
        files += _python_files(root, directory)
    for file in files:
        ctx.symlink(root.get_child(file), file)
    ctx.file("BUILD.bazel", _BUILD)

python_sources = repository_rule(
    implementation = _python_sources_impl,
    doc = "All Python sources below some directories of the workspace, as `:all`.",
    attrs = {
        "directories": attr.string_list(mandatory = True, doc = "Top-level directories to look through."),
        "scripts": attr.string_list(doc = "Python programs whose names do not end in .py."),
        "_workspace": attr.label(default = Label("//:WORKSPACE")),
    },
)
