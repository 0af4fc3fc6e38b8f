"""`image_sign`: an image and statements about it → a program that signs them."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")
load("//tools/image:layout_rules.bzl", "layout_of")

_DOC = """\
Signs a pushed image, or an index and its images, and the statements about them, as cosign does.

    image_sign(
        name = "sign",
        image = ":index",
        statements = [":provenance_amd64", ":sbom_statement_amd64"],
    )

    bazel run //backend:sign -- --key cosign.key HOST/NAME:TAG

The key is read when the program runs and is no input of any action. `--help` lists every flag.
"""

def _image_sign_impl(ctx):
    return launcher(
        ctx,
        tool = ctx.attr._sign,
        target = {
            "layout": runfiles_path(ctx, layout_of(ctx.attr.image, "image")),
            "statements": [runfiles_path(ctx, file) for file in ctx.files.statements],
        },
        files = ctx.files.statements,
        targets = [ctx.attr.image],
    )

image_sign = rule(
    implementation = _image_sign_impl,
    doc = _DOC,
    attrs = {
        "image": attr.label(mandatory = True, doc = "An OCI layout, of an image or an index."),
        "statements": attr.label_list(
            allow_files = [".json"],
            doc = "in-toto statements about the image or an image of the index.",
        ),
        # It runs on the machine of `bazel run`, not in an action.
        "_sign": attr.label(default = Label(":sign"), executable = True, cfg = "exec"),
    } | LAUNCHER_ATTRS,
    executable = True,
)
