"""`system_layer`: what the maintainer scripts of an image's packages would have done, as one layer."""

load("//tools/archive:layer_info.bzl", "LAYER_ATTRS", "add_layer_arguments", "declare_layer", "layer_providers")
load(":deb_layer_info.bzl", "DebLayerInfo")

_DOC = """Write users, TLS roots, the linker's cache, alternatives and the like.

What is done for which package, and why, is declared in `maintainer_scripts`; a package with a script
that is not declared there fails the build. Goes above all layers of Debian packages.

    system_layer(
        name = "system_layer_amd64",
        arch = "amd64",
        layers = [":base_layer_amd64"],
        lock = "//third_party/debian:bookworm.lock.json",
        maintainer_scripts = ["//third_party/debian:maintainer_scripts.yaml"],
        users = ["appuser:1000:1000:/app"],
    )
"""

_ATTRS = {
    "arch": attr.string(
        doc = "Debian's name of the architecture.",
        mandatory = True,
        values = ["amd64", "arm64"],
    ),
    "layers": attr.label_list(
        doc = "The `deb_layer`s of the image, made with the same lock: every package that it has.",
        mandatory = True,
        providers = [DebLayerInfo],
    ),
    "lock": attr.label(
        doc = "Lock of Debian packages, or its `layer_policy`: the timestamp and the paths left out.",
        allow_single_file = [".json"],
        mandatory = True,
    ),
    "maintainer_scripts": attr.label_list(
        doc = "What is done instead of running the packages' scripts (maintainer_scripts.py has the keys). An entry " +
              "of a later file replaces the one of an earlier file, so that a product can begin with " +
              "@pinned_image//third_party/debian:maintainer_scripts.yaml and add its own.",
        allow_files = [".yaml"],
    ),
    "users": attr.string_list(
        doc = "`name:uid:gid:/home[:/shell]`, beside root and nobody. Homes are not created.",
    ),
    "_tool": attr.label(default = Label("//tools/apt:system_layer"), executable = True, cfg = "exec"),
}

def _system_layer_impl(ctx):
    layer = declare_layer(ctx)
    packages = [target[DebLayerInfo] for target in ctx.attr.layers]
    listings = [each.listing for each in packages]
    args = ctx.actions.args()
    args.add("--lock", ctx.file.lock)
    args.add("--arch", ctx.attr.arch)
    args.add_all(listings, before_each = "--listing")
    args.add_all(ctx.files.maintainer_scripts, before_each = "--maintainer-scripts")
    args.add_all(ctx.attr.users, before_each = "--user")
    add_layer_arguments(ctx, args, layer)
    args.use_param_file("@%s")
    args.set_param_file_format("multiline")
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = [deb for each in packages for deb in each.debs] + listings + ctx.files.maintainer_scripts + [ctx.file.lock],
        outputs = [layer.blob, layer.descriptor],
        mnemonic = "SystemLayer",
        progress_message = "Setting up the system of %{label}",
    )
    return layer_providers(layer)

system_layer = rule(
    implementation = _system_layer_impl,
    doc = _DOC,
    attrs = _ATTRS | LAYER_ATTRS,
)
