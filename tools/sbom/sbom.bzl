"""`sbom_components` and `image_sbom`: packages and an image → an SBOM of the image."""

load("//tools/image:platform_transition.bzl", "PLATFORM_ATTRS", "to_platform")

_COMPONENTS_DOC = """\
Read what packages say of themselves, once for every format and every image made of them.

    sbom_components(
        name = "sbom_components",
        debs = ["@debian//:base"],
        distro = "debian-12",
        wheels = [requirement("fastapi")],
    )
"""

def _sbom_components_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".json")
    args = ctx.actions.args()
    args.add("--distro", ctx.attr.distro)
    args.add_all(ctx.files.debs, before_each = "--deb")
    args.add_all(ctx.files.wheels, before_each = "--wheel")
    args.add("--out", out)
    args.use_param_file("@%s")
    args.set_param_file_format("multiline")
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = ctx.files.debs + ctx.files.wheels,
        outputs = [out],
        mnemonic = "SbomComponents",
        progress_message = "Describing the packages of %{label}",
    )
    return [DefaultInfo(files = depset([out]))]

sbom_components = rule(
    implementation = _sbom_components_impl,
    doc = _COMPONENTS_DOC,
    attrs = {
        "debs": attr.label_list(allow_files = [".deb"], cfg = to_platform, doc = "Debian packages of the image."),
        "distro": attr.string(mandatory = True, doc = "As package URLs have it: debian-12."),
        "wheels": attr.label_list(allow_files = [".whl"], cfg = to_platform, doc = "Wheels of the image."),
        "_tool": attr.label(default = Label(":components"), executable = True, cfg = "exec"),
    } | PLATFORM_ATTRS,
)

_DOC = """\
Write the SBOM of an image, or of an index: which packages, from where, with which hash and licence.

    image_sbom(
        name = "sbom_spdx",
        components = {":sbom_components": "amd64"},
        distro = "debian-12",
        format = "spdx",
        image = ":image_amd64",
        image_name = "app",
        lock = "//third_party/debian:layer_policy",
        out = "app.spdx.json",
        supplier = "A Team <team@example.org>",
    )

spdx is SPDX 2.3, spdx3 is SPDX 3.0.1, cyclonedx is CycloneDX 1.6, all in JSON. Same image, same bytes.
"""

def _image_sbom_impl(ctx):
    image = ctx.attr.image[DefaultInfo]
    args = ctx.actions.args()
    args.add_all("--image", ctx.files.image, expand_directories = False)
    args.add("--name", ctx.attr.image_name)
    args.add("--distro", ctx.attr.distro)
    args.add("--lock", ctx.file.lock)
    if ctx.attr.supplier:
        args.add("--supplier", ctx.attr.supplier)
    for target, architecture in ctx.attr.components.items():
        args.add_all(target[DefaultInfo].files, before_each = "--components", format_each = architecture + "=%s")
    args.add("--format", ctx.attr.format)
    args.add("--out", ctx.outputs.out)
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = depset(
            [ctx.file.lock],
            transitive = [image.files, image.default_runfiles.files] +
                         [target[DefaultInfo].files for target in ctx.attr.components],
        ),
        outputs = [ctx.outputs.out],
        mnemonic = "ImageSbom",
        progress_message = "Writing the SBOM %{output}",
    )
    return [DefaultInfo(files = depset([ctx.outputs.out]))]

image_sbom = rule(
    implementation = _image_sbom_impl,
    doc = _DOC,
    attrs = {
        "components": attr.label_keyed_string_dict(
            allow_files = [".json"],
            doc = "sbom_components, each with the architecture of the images that have them.",
            mandatory = True,
        ),
        "distro": attr.string(mandatory = True, doc = "As package URLs have it: debian-12."),
        "format": attr.string(mandatory = True, values = ["cyclonedx", "spdx", "spdx3"]),
        "image": attr.label(doc = "OCI layout of an image or an index.", mandatory = True),
        "image_name": attr.string(doc = "What the image is called.", mandatory = True),
        "lock": attr.label(
            allow_single_file = [".json"],
            doc = "Lock of Debian packages, or its `layer_policy`, for the document's time.",
            mandatory = True,
        ),
        "out": attr.output(doc = "The file.", mandatory = True),
        "supplier": attr.string(doc = "Who makes the image: `Name <e-mail or web address>`. The checkers want it."),
        "_tool": attr.label(default = Label(":sbom"), executable = True, cfg = "exec"),
    },
)
