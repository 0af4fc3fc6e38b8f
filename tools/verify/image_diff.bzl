"""image_diff: `bazel run` shows what changed between two images."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")
load("//tools/image:layout_rules.bzl", "label_text", "layout_of")

_DOC = """\
Compares two images: packages with their CVEs, sizes, files, config.

    bazel run //backend:diff -- OLD [NEW]

Each is a reference in a registry, an OCI layout, an archive or a git revision; without NEW it is `image`.
`--help` lists every flag.
"""

_ATTRS = {
    "debs": attr.label_list(allow_files = [".deb"], doc = "The packages that `image` is made from, for their changelogs."),
    "image": attr.label(mandatory = True, doc = "What this checkout makes: an OCI layout, of an index or an image."),
    # It runs on the machine of `bazel run`, not in an action.
    "_diff": attr.label(default = Label(":diff"), executable = True, cfg = "exec"),
}

def _image_diff_impl(ctx):
    target = {
        "debs": [runfiles_path(ctx, deb) for deb in ctx.files.debs],
        "image": label_text(ctx.attr.image.label),
        "layouts": [runfiles_path(ctx, layout_of(ctx.attr.image, "image"))],
        "program": label_text(ctx.label),
    }
    return [launcher(ctx, tool = ctx.attr._diff, target = target, files = ctx.files.debs, targets = [ctx.attr.image])]

image_diff = rule(
    implementation = _image_diff_impl,
    doc = _DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    executable = True,
)
