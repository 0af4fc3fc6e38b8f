"""`source_files`: the files of the workspace, for repository rules that link them."""

# Left behind by tools that people run.
_IGNORED = ["__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"]

# Starlark has no unbounded loop; this is far above the number of directories.
_MAX_DIRECTORIES = 10000

def source_files(ctx, root, directories):
    """Return the files below some directories of the workspace, and watch these.

    Args:
      ctx: the repository_ctx.
      root: path of the workspace.
      directories: directories of the top level.

    Returns:
      Paths relative to `root`.
    """
    for directory in directories:
        # From above: Bazel takes a watched directory that is gone for a broken file system.
        ctx.watch_tree(root.get_child(directory))
    found = []
    pending = list(directories)
    for _ in range(_MAX_DIRECTORIES):
        if not pending:
            return found
        for entry in root.get_child(pending.pop()).readdir(watch = "no"):
            relative = str(entry).removeprefix(str(root) + "/")
            if not entry.is_dir:
                found.append(relative)
            elif entry.basename not in _IGNORED and not entry.basename.startswith("bazel-"):
                pending.append(relative)
    fail("more than {} directories below {}".format(_MAX_DIRECTORIES, ", ".join(directories)))
