"""`deb_layer`: the files of Debian packages as one image layer."""

load("//tools/archive:layer_info.bzl", "LAYER_ATTRS", "add_content", "add_layer_arguments", "declare_layer", "layer_providers")
load(":deb_layer_info.bzl", "DebLayerInfo")

_DOC = """Merge Debian packages into a layer, without running any of their scripts.

Paths are usr-merged, the lock's `excluded_paths` are left out (copyright files never), every
timestamp is the lock's, and scanners find each package in /var/lib/dpkg/status.d. The layer with
base-files also holds the links /bin, /lib, /sbin, /lib64 and so has to be the lowest one.

    deb_layer(
        name = "base_layer_amd64",
        debs = ["@debian//:base_amd64"],
        lock = "//third_party/debian:bookworm.lock.json",
    )
"""

_ATTRS = {
    "debs": attr.label_list(
        doc = "Packages, all of one architecture; a conflict between two of them is an error.",
        allow_files = [".deb"],
        mandatory = True,
    ),
    "lock": attr.label(
        doc = "Lock of Debian packages, or its `layer_policy`: the timestamp and the paths to leave out.",
        allow_single_file = [".json"],
        mandatory = True,
    ),
    "symlinks": attr.string_dict(
        doc = "Absolute path of a link → its target: names by which a package's program is called.",
    ),
    "_tool": attr.label(default = Label("//tools/apt:deb_layer"), executable = True, cfg = "exec"),
}

def _deb_layer_impl(ctx):
    layer = declare_layer(ctx)
    listing = ctx.actions.declare_file(ctx.label.name + ".debs.json")
    args = ctx.actions.args()
    args.add("--lock", ctx.file.lock)
    args.add_all(ctx.files.debs, before_each = "--deb")
    content = add_content(ctx, args, {"symlinks": ctx.attr.symlinks})
    args.add("--listing", listing)
    add_layer_arguments(ctx, args, layer)
    args.use_param_file("@%s")
    args.set_param_file_format("multiline")
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = ctx.files.debs + [content, ctx.file.lock],
        outputs = [layer.blob, layer.descriptor, listing],
        mnemonic = "DebLayer",
        progress_message = "Merging {} packages into %{{output}}".format(len(ctx.files.debs)),
    )
    return layer_providers(layer) + [DebLayerInfo(debs = ctx.files.debs, listing = listing)]

deb_layer = rule(
    implementation = _deb_layer_impl,
    doc = _DOC,
    attrs = _ATTRS | LAYER_ATTRS,
)
