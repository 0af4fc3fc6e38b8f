"""`lint_sources`: the text that linters and the tests of style read, as two file groups.

Globs end where a subpackage begins, and a list kept by hand forgets files. This repository watches the
directories and links what it finds, so a new file is linted without being named anywhere.
"""

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

# Starlark has no unbounded loop; this is far above the number of directories.
_MAX_DIRECTORIES = 10000

def _files_below(root, directory):
    """Return the paths, relative to `root`, of the files below `directory`."""
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
            elif relative.endswith(_SUFFIXES):
                found.append(relative)
    fail("more than {} directories below {}".format(_MAX_DIRECTORIES, directory))

def _lint_sources_impl(ctx):
    root = ctx.path(ctx.attr._workspace).dirname
    files = ctx.attr.files + ctx.attr.scripts
    for directory in ctx.attr.directories:
        # From above: Bazel takes a watched directory that is gone for a broken file system.
        ctx.watch_tree(root.get_child(directory))
        files = files + _files_below(root, directory)
    for file in files:
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
