"""How a rule has its tool run as a persistent worker: one process for many actions (worker.py)."""

# Bazel uses a worker where it may; a tool that runs elsewhere, or in a sandbox, is started as any program.
WORKER = {
    "requires-worker-protocol": "json",
    "supports-workers": "1",
}

def worker_args(ctx):
    """Return empty Args that a worker can be given: in a file, one a line, so none may have a newline.

    Args:
      ctx: the rule's context.

    Returns:
      The one Args of an action with WORKER as its execution_requirements.
    """
    args = ctx.actions.args()
    args.set_param_file_format("multiline")
    args.use_param_file("@%s", use_always = True)
    return args
