"""`python_source_layer`: an application's sources become a layer."""

load("//tools:worker.bzl", "WORKER", "worker_args")
load("//tools/archive:layer_info.bzl", "LAYER_ATTRS", "add_content", "add_layer_arguments", "declare_layer", "layer_providers")

_DOC = """Put sources under one directory of the image, with bytecode that no timestamp invalidates.

Files are root's and read-only to everybody else; directories the program may write to are named with
their owner.

    python_source_layer(
        name = "app_layer",
        srcs = glob(["**/*.py"], exclude = ["tests/**"]),
        directory = "/app",
        empty_directories = {"data": "1000:1000:0755"},
        lock = "//third_party/debian:bookworm.lock.json",
        strip_prefix = "backend",
    )
"""

def _path_in_layer(ctx, file):
    """Return the file's path below the layer's directory."""
    prefix = ctx.attr.strip_prefix
    if not prefix:
        return file.short_path
    if not file.short_path.startswith(prefix + "/"):
        fail("python_source_layer {}: {} does not start with strip_prefix {}".format(ctx.label, file.short_path, repr(prefix)))
    return file.short_path.removeprefix(prefix + "/")

def _python_source_layer_impl(ctx):
    layer = declare_layer(ctx)

    args = worker_args(ctx)
    content = add_content(ctx, args, {
        "directory": ctx.attr.directory,
        "empty_directories": ctx.attr.empty_directories,
        "files": [[file.path, _path_in_layer(ctx, file)] for file in ctx.files.srcs],
    })
    args.add("--lock", ctx.file.lock)
    add_layer_arguments(ctx, args, layer)
    ctx.actions.run(
        outputs = [layer.blob, layer.descriptor],
        inputs = ctx.files.srcs + [content, ctx.file.lock],
        executable = ctx.executable._tool,
        arguments = [args],
        execution_requirements = WORKER,
        mnemonic = "PythonSourceLayer",
        progress_message = "Layering sources %{label}",
    )
    return layer_providers(layer)

python_source_layer = rule(
    implementation = _python_source_layer_impl,
    doc = _DOC,
    attrs = {
        "directory": attr.string(doc = "Directory of the image that the files go to.", default = "/app"),
        "empty_directories": attr.string_dict(doc = "Path below `directory` to uid:gid:mode, such as 1000:1000:0755."),
        "lock": attr.label(
            allow_single_file = [".json"],
            doc = "Lock of Debian packages, or its `layer_policy`, for the image's one timestamp.",
            mandatory = True,
        ),
        "srcs": attr.label_list(allow_files = True, doc = "Modules and data files.", mandatory = True),
        "strip_prefix": attr.string(doc = "Leading directories of the workspace that are not part of the path in the image."),
        "_tool": attr.label(cfg = "exec", default = Label("//tools/wheels:python_source_layer"), executable = True),
    } | LAYER_ATTRS,
)
