"""What the test rules of this folder share: an image, a runner, and how they meet."""

load("//tools/oci:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")

TEST_ATTRS = LAUNCHER_ATTRS | {
    "_tool": attr.label(
        default = Label("//tools/structure_test:structure_test"),
        executable = True,
        # Tests run where the image runs, so the runner is built for the target platform.
        cfg = "target",
    ),
}

# In which output group upstream's rule looks for the image, before its ordinary outputs.
_LAYOUT_GROUP = "oci_layout"

def image_layout(ctx):
    """The one OCI layout directory of `ctx.attr.image`; fails for anything else."""
    image = ctx.attr.image
    files = image[DefaultInfo].files.to_list()
    if OutputGroupInfo in image and hasattr(image[OutputGroupInfo], _LAYOUT_GROUP):
        files = getattr(image[OutputGroupInfo], _LAYOUT_GROUP).to_list()
    if len(files) != 1 or not files[0].is_directory:
        fail("{}: 'image' {} must be one OCI layout directory, as oci_image makes it; found: {}".format(
            ctx.label,
            image.label,
            ", ".join([file.short_path for file in files]) or "nothing",
        ))
    return files[0]

def structure_test(ctx, configs = [], image_configs = [], driver = "namespace"):
    """The providers of a test that runs these configurations against `ctx.attr.image`.

    Args:
        ctx: the rule's context, with TEST_ATTRS and `image`.
        configs: files in the schema of container_structure_test.
        image_configs: files in the schema of image_test.
        driver: "namespace", or "tar" for static checks only.

    Returns:
        A list of providers.
    """
    layout = image_layout(ctx)
    target = {
        "configs": [runfiles_path(ctx, file) for file in configs],
        "driver": driver,
        "image": runfiles_path(ctx, layout),
        "image_configs": [runfiles_path(ctx, file) for file in image_configs],
    }
    files = [layout] + configs + image_configs
    return [launcher(ctx, ctx.attr._tool, target, files, [ctx.attr.image])]
