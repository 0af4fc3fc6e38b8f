"""oci_attach: a file and an image → a program that attaches the file to the image in a registry."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")
load("//tools/image:layout_rules.bzl", "layout_of")
load(":push.bzl", "check_repository")

_DOC = """\
Attaches a file, such as an SBOM, to a pushed image as an OCI 1.1 referrer.

    oci_attach(
        name = "attach_sbom",
        artifact = ":sbom_spdx",
        artifact_type = "application/spdx+json",
        image = ":image",
    )

    bazel run //backend:attach_sbom -- --repository HOST/NAME

The image, its digest and its tags do not change. Flags and credentials are those of oci_push.
"""

_ATTRS = {
    "annotations": attr.string_dict(doc = "Annotations of the artifact's manifest."),
    "artifact": attr.label(allow_single_file = True, mandatory = True, doc = "The file."),
    "artifact_type": attr.string(mandatory = True, doc = "A media type."),
    "image": attr.label(mandatory = True, doc = "An OCI layout, of an image or an index."),
    "media_type": attr.string(doc = "Media type of the file; `artifact_type` by default."),
    "repository": attr.string(doc = "HOST/NAME, without tag or digest. --repository overrides it."),
    "repository_file": attr.label(
        allow_single_file = True,
        doc = "A file that holds the repository, instead of `repository`.",
    ),
    # It runs on the machine of `bazel run`, not in an action.
    "_attach": attr.label(default = Label(":attach"), executable = True, cfg = "exec"),
}

def _oci_attach_impl(ctx):
    check_repository(ctx.attr)
    target = {
        "annotations": ctx.attr.annotations,
        "artifact": runfiles_path(ctx, ctx.file.artifact),
        "artifact_type": ctx.attr.artifact_type,
        "layout": runfiles_path(ctx, layout_of(ctx.attr.image, "image")),
        "media_type": ctx.attr.media_type,
        "repository": ctx.attr.repository,
    }
    files = [ctx.file.artifact]
    if ctx.file.repository_file:
        target["repository_file"] = runfiles_path(ctx, ctx.file.repository_file)
        files.append(ctx.file.repository_file)
    return launcher(
        ctx,
        tool = ctx.attr._attach,
        target = target,
        files = files,
        targets = [ctx.attr.image],
    )

oci_attach = rule(
    implementation = _oci_attach_impl,
    doc = _DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    executable = True,
)
