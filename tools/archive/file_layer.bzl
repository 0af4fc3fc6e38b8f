"""`file_layer`: plain files, directories and symlinks as one image layer."""

load(":layer_info.bzl", "LAYER_ATTRS", "add_content", "add_layer_arguments", "declare_layer", "layer_providers")

# 2020-01-01T00:00:00Z. Any constant does; zero is avoided because zip files cannot hold it.
_MTIME = 1577836800

_DOC = """Put files, directories and symlinks into a layer.

    file_layer(
        name = "motd_layer",
        files = {":motd.txt": "/etc/motd"},
        dirs = ["/srv/data"],
        owners = {"/srv/data": "1000:1000"},
    )
"""

_ATTRS = {
    "dirs": attr.string_list(doc = "Absolute paths of directories; parents are implied."),
    "files": attr.label_keyed_string_dict(
        doc = "Label of one file → its absolute path in the image.",
        allow_files = True,
    ),
    "modes": attr.string_dict(doc = "Path → octal mode; files are 0644, directories 0755."),
    "mtime": attr.int(default = _MTIME, doc = "Timestamp of every entry, in seconds."),
    "owners": attr.string_dict(doc = "Path → UID:GID in numbers; root's otherwise."),
    "symlinks": attr.string_dict(doc = "Absolute path of a link → its target."),
    "_tool": attr.label(default = Label("//tools/archive:file_layer"), executable = True, cfg = "exec"),
}

def _file_layer_impl(ctx):
    layer = declare_layer(ctx)
    args = ctx.actions.args()
    args.add("--mtime", ctx.attr.mtime)
    add_layer_arguments(ctx, args, layer)
    sources = []
    for target, path in ctx.attr.files.items():
        files = target[DefaultInfo].files.to_list()
        if len(files) != 1:
            fail("'files': {} is {} files, {} can be only one.".format(target.label, len(files), path))
        sources.append([files[0].path, path])
    content = add_content(ctx, args, {
        "dirs": ctx.attr.dirs,
        "files": sources,
        "modes": ctx.attr.modes,
        "owners": ctx.attr.owners,
        "symlinks": ctx.attr.symlinks,
    })
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = ctx.files.files + [content],
        outputs = [layer.blob, layer.descriptor],
        mnemonic = "FileLayer",
        progress_message = "Writing layer %{output}",
    )
    return layer_providers(layer)

file_layer = rule(
    implementation = _file_layer_impl,
    doc = _DOC,
    attrs = _ATTRS | LAYER_ATTRS,
)
