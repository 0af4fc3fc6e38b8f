"""`layer_policy`: the little of a lock that layers depend on, so that a pin moved elsewhere rebuilds none."""

_DOC = """Take timestamp and excluded paths from a lock.

Give it to layer rules as their `lock`. With the lock itself they make the same layers, but anew after
every change of any pin.

    layer_policy(
        name = "layer_policy",
        lock = "bookworm.lock.json",
    )
"""

def _layer_policy_impl(ctx):
    policy = ctx.actions.declare_file(ctx.label.name + ".json")
    args = ctx.actions.args()
    args.add("--lock", ctx.file.lock)
    args.add("--out", policy)
    if ctx.attr.whole_packages:
        args.add("--whole-packages")
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = [ctx.file.lock],
        outputs = [policy],
        mnemonic = "LayerPolicy",
        progress_message = "Reading what layers need from %{input}",
    )
    return [DefaultInfo(files = depset([policy]))]

layer_policy = rule(
    implementation = _layer_policy_impl,
    doc = _DOC,
    attrs = {
        "lock": attr.label(allow_single_file = [".json"], doc = "Lock of Debian packages.", mandatory = True),
        "whole_packages": attr.bool(doc = "Leave nothing out, for layers that are not of the lock's image."),
        "_tool": attr.label(cfg = "exec", default = Label("//tools/apt:layer_policy"), executable = True),
    },
)
