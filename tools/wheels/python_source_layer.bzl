"""`python_source_layer`: an application's sources become a layer."""

load("//tools:worker.bzl", "WORKER", "worker_args")
load("//tools/archive:layer_info.bzl", "LAYER_ATTRS", "add_content", "add_layer_arguments", "declare_layer", "layer_providers")

_DOC = """Put sources under one directory of the image, with bytecode that no timestamp invalidates.

Files are root's and read-only to everybody else; directories the program may write to are named with
their owner. With `include` and `exclude` several layers share the sources, and a changed line makes
one of them again.

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

def _is_below(path, places):
    """Return whether one of `places` is the path or a directory that it lies in."""
    return any([path == place or path.startswith(place + "/") for place in places])

def _files(ctx):
    """Return pairs of a file and its path below the layer's directory, those of `include` without `exclude`."""
    files = [(file, _path_in_layer(ctx, file)) for file in ctx.files.srcs]
    for attribute in ["include", "exclude"]:
        for place in getattr(ctx.attr, attribute):
            if not any([_is_below(path, [place]) for _, path in files]):
                fail("python_source_layer {}: {} names {}, and srcs have no such file or directory below {}; correct or remove it".format(
                    ctx.label,
                    attribute,
                    repr(place),
                    repr(ctx.attr.strip_prefix),
                ))
    return [
        (file, path)
        for file, path in files
        if (not ctx.attr.include or _is_below(path, ctx.attr.include)) and not _is_below(path, ctx.attr.exclude)
    ]

def _python_source_layer_impl(ctx):
    layer = declare_layer(ctx)
    files = _files(ctx)

    args = worker_args(ctx)
    content = add_content(ctx, args, {
        "directory": ctx.attr.directory,
        "empty_directories": ctx.attr.empty_directories,
        "files": [[file.path, path] for file, path in files],
    })
    args.add("--lock", ctx.file.lock)
    add_layer_arguments(ctx, args, layer)
    ctx.actions.run(
        outputs = [layer.blob, layer.descriptor],
        inputs = [file for file, _ in files] + [content, ctx.file.lock],
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
        "exclude": attr.string_list(doc = "Files and directories of `srcs`, as paths below `directory`, that other layers have."),
        "include": attr.string_list(doc = "Files and directories of `srcs`, as paths below `directory`; without any, all."),
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
