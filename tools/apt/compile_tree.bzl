"""Bytecode for the Python modules of a repository, written once, while it is fetched.

Without it each start of a tool would compile what it imports again (0.3 s), or the first one would write its
bytecode into the repository: then the inputs of an action would depend on what had run before it.
"""

COMPILE_ATTR = {
    "_compile_tree": attr.label(default = Label("//tools/apt:compile_tree.py"), allow_single_file = True),
}

# What the user's environment says to Python must not reach programs that a fetch starts, and none of them may
# write bytecode: not into a repository, and not beside our own sources.
PYTHON_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPYCACHEPREFIX": "",
}

def compile_tree(ctx, python, directories):
    """Compile all Python modules below some directories of the repository.

    Args:
      ctx: the repository_ctx of a rule with COMPILE_ATTR.
      python: path of the interpreter that is to read the bytecode.
      directories: paths relative to the repository.
    """

    # -E, -S: neither variables nor site packages may import a module first; the bytes could depend on it.
    result = ctx.execute(
        [python, "-E", "-S", "-B", "-X", "utf8", "-W", "ignore", ctx.path(ctx.attr._compile_tree)] + directories,
        environment = PYTHON_ENVIRONMENT,
        timeout = 600,
    )
    if result.return_code:
        fail("@{}: cannot compile the modules in {}:\n{}".format(ctx.name, ", ".join(directories), result.stderr))
