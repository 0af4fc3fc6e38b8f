"""`wheel_layer`: wheels become a layer."""

load("//tools:worker.bzl", "WORKER", "worker_args")
load("//tools/archive:layer_info.bzl", "LAYER_ATTRS", "add_layer_arguments", "declare_layer", "layer_providers")

_DOC = """Install wheels into a layer, as PyPA's `installer` does.

Packages go to /usr/local/lib/python3.N/dist-packages and console scripts to /usr/local/bin, with bytecode
that no timestamp invalidates. Put wheels that are large or change rarely into a layer of their own.

    wheel_layer(
        name = "wheels",
        lock = "//third_party/debian:bookworm.lock.json",
        wheels = [whl_requirement("fastapi"), whl_requirement("uvicorn")],
    )
"""

def _wheel_layer_impl(ctx):
    layer = declare_layer(ctx)
    for wheel in ctx.files.wheels:
        if wheel.extension != "whl":
            fail("wheel_layer {}: {} is not a wheel; use whl_requirement(...) of a hub".format(ctx.label, wheel.short_path))

    bytecode = [_bytecode(ctx, wheel) for wheel in ctx.files.wheels]
    args = worker_args(ctx)
    args.add_all(ctx.files.wheels, before_each = "--wheel")
    args.add_all(bytecode, before_each = "--bytecode")
    args.add("--lock", ctx.file.lock)
    add_layer_arguments(ctx, args, layer)
    inputs = ctx.files.wheels + bytecode + [ctx.file.lock]
    if ctx.file.excluded_paths:
        args.add("--exclude", ctx.file.excluded_paths)
        inputs.append(ctx.file.excluded_paths)
    if ctx.attr.strip:
        args.add("--strip")
    ctx.actions.run(
        outputs = [layer.blob, layer.descriptor],
        inputs = inputs,
        executable = ctx.executable._tool,
        arguments = [args],
        execution_requirements = WORKER,
        mnemonic = "WheelLayer",
        progress_message = "Installing %d wheels into %%{label}" % len(ctx.files.wheels),
    )
    return layer_providers(layer)

def _bytecode(ctx, wheel):
    """Declare the action that compiles one wheel."""
    out = ctx.actions.declare_file("{}.bytecode/{}.zip".format(ctx.label.name, wheel.basename))
    args = worker_args(ctx)
    args.add("--wheel", wheel)
    if ctx.file.excluded_paths:
        args.add("--exclude", ctx.file.excluded_paths)
    args.add("--out", out)
    ctx.actions.run(
        outputs = [out],
        inputs = [wheel] + ctx.files.excluded_paths,
        executable = ctx.executable._bytecode_tool,
        arguments = [args],
        execution_requirements = WORKER,
        mnemonic = "WheelBytecode",
        progress_message = "Compiling {}".format(wheel.basename),
    )
    return out

wheel_layer = rule(
    implementation = _wheel_layer_impl,
    doc = _DOC,
    attrs = {
        "excluded_paths": attr.label(
            allow_single_file = [".json"],
            doc = "JSON list of globs that stay out, each with its reason; relative to dist-packages, as in RECORD.",
        ),
        "lock": attr.label(
            allow_single_file = [".json"],
            doc = "Lock of Debian packages, or its `layer_policy`, for the image's one timestamp.",
            mandatory = True,
        ),
        "strip": attr.bool(
            doc = "Leave out of shared objects what only debuggers and linkers read, as Debian does with its own.",
        ),
        "wheels": attr.label_list(
            allow_files = [".whl"],
            doc = "The wheels.",
            mandatory = True,
        ),
        "_bytecode_tool": attr.label(cfg = "exec", default = Label("//tools/wheels:wheel_bytecode"), executable = True),
        "_tool": attr.label(cfg = "exec", default = Label("//tools/wheels:wheel_layer"), executable = True),
    } | LAYER_ATTRS,
)
