"""`layer_policy`: the action that takes from a lock the little that layers depend on."""

def layer_policy(ctx, lock, tool):
    """Extracts timestamp and excluded paths, so that a pin moved elsewhere rebuilds no layer.

    Args:
      ctx: the context of a layer rule.
      lock: File, the lock.
      tool: the layer_policy executable.

    Returns:
      The policy File.
    """
    policy = ctx.actions.declare_file(ctx.label.name + ".policy.json")
    args = ctx.actions.args()
    args.add("--lock", lock)
    args.add("--out", policy)
    ctx.actions.run(
        executable = tool,
        arguments = [args],
        inputs = [lock],
        outputs = [policy],
        mnemonic = "LayerPolicy",
        progress_message = "Reading what layers need from %{input}",
    )
    return policy
