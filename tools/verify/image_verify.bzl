"""image_verify: `bazel run` says whether this checkout makes an image."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")
load("//tools/image:layout_rules.bzl", "layout_of")

_DOC = """\
Compares an image with those that this checkout makes.

    bazel run //backend:verify -- REFERENCE

REFERENCE is a digest, a reference in a registry, an OCI layout or an archive. Ends with 0 if the image is the
same, with 1 if it is not, and with 2 if that cannot be told. `--help` lists every flag.
"""

_ATTRS = {
    "images": attr.label_list(mandatory = True, doc = "OCI layouts that this checkout makes: an index, images."),
    # It runs on the machine of `bazel run`, not in an action.
    "_verify": attr.label(default = Label(":verify"), executable = True, cfg = "exec"),
}

def _image_verify_impl(ctx):
    target = {"layouts": [runfiles_path(ctx, layout_of(image, "images")) for image in ctx.attr.images]}
    return [launcher(ctx, tool = ctx.attr._verify, target = target, files = [], targets = ctx.attr.images)]

image_verify = rule(
    implementation = _image_verify_impl,
    doc = _DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    executable = True,
)
