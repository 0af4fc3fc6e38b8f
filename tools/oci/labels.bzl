"""`image_labels`: what an image says of itself, and from which revision it is if the command line says so."""

load("@bazel_skylib//rules:common_settings.bzl", "BuildSettingInfo")
load(":text_files.bzl", "pairs_lines")

# Keys below org.opencontainers.image whose values only the caller of Bazel knows: one flag each.
STAMPS = ["documentation", "revision", "source", "version"]

_DOC = """\
Writes labels as `key=value` lines, for `labels` of an image and `annotations` of an index.

    image_labels(
        name = "labels",
        labels = {"org.opencontainers.image.title": "app"},
    )

    bazel build --@pinned_image//tools/oci:revision=$(git rev-parse HEAD) //app:image

Nothing is asked of the machine or of git: without a flag its label is absent (or the one in `labels`), and every
checkout of the same content gives the same digest.
"""

def _image_labels_impl(ctx):
    stamps = {stamp: getattr(ctx.attr, "_" + stamp)[BuildSettingInfo].value for stamp in STAMPS}
    labels = ctx.attr.labels | {
        "org.opencontainers.image." + stamp: value
        for stamp, value in stamps.items()
        if value
    }
    out = ctx.actions.declare_file(ctx.label.name + ".txt")
    ctx.actions.write(out, "".join(pairs_lines(ctx.label.name, "labels", labels)))
    return [DefaultInfo(files = depset([out]))]

image_labels = rule(
    implementation = _image_labels_impl,
    doc = _DOC,
    attrs = {
        "labels": attr.string_dict(doc = "Labels that every build sets."),
    } | {
        "_" + stamp: attr.label(default = Label(":" + stamp), providers = [BuildSettingInfo])
        for stamp in STAMPS
    },
)
