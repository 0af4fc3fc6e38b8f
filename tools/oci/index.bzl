"""oci_image_index: images of several platforms → one OCI layout whose root is an image index."""

load("//tools:worker.bzl", "WORKER", "worker_args")
load(
    "//tools/image:layout_rules.bzl",
    "DIGEST_ATTR",
    "digest_file",
    "digest_target",
    "label_text",
    "layout_inputs",
    "layout_providers",
    "layouts_of",
)
load(":text_files.bzl", "common_attributes", "pairs_file")

_DOC = "Makes a multi-platform image; the children's blobs are linked, not copied."

_PLATFORMS = "//command_line_option:platforms"

def _platforms_transition_impl(settings, attr):
    if not attr.platforms:
        return {"as configured": {_PLATFORMS: settings[_PLATFORMS]}}
    return {str(platform): {_PLATFORMS: [str(platform)]} for platform in attr.platforms}

_platforms_transition = transition(
    implementation = _platforms_transition_impl,
    inputs = [_PLATFORMS],
    outputs = [_PLATFORMS],
)

_ATTRS = {
    "annotations": attr.label(allow_single_file = True, doc = "`key=value` lines."),
    "images": attr.label_list(
        mandatory = True,
        cfg = _platforms_transition,
        doc = "OCI layouts; a target may have several.",
    ),
    "platforms": attr.label_list(
        providers = [platform_common.PlatformInfo],
        doc = "Build the one image of `images` once for each of these platforms.",
    ),
    "_allowlist_function_transition": attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
    "_index": attr.label(default = Label(":index"), executable = True, cfg = "exec"),
}

def _oci_image_index_impl(ctx):
    # With platforms, `images` has an entry for each image and platform.
    if ctx.attr.platforms and len(ctx.attr.images) != len(ctx.attr.platforms):
        fail("platforms can only be specified when there is exactly one image, found {}".format(
            len(ctx.attr.images) // len(ctx.attr.platforms),
        ))
    output = ctx.actions.declare_directory(ctx.label.name)
    digest = digest_file(ctx)
    args = worker_args(ctx)
    args.add_all("--output", [output], expand_directories = False)
    args.add("--digest-output", digest)
    args.add("--label", label_text(ctx.label))
    for image in ctx.attr.images:
        # A target built for several platforms has one directory for each.
        for layout in layouts_of(image, "images"):
            args.add_all("--image", [layout], expand_directories = False)
    if ctx.file.annotations:
        args.add("--annotations", ctx.file.annotations)
    ctx.actions.run(
        executable = ctx.executable._index,
        arguments = [args],
        execution_requirements = WORKER,
        inputs = depset(ctx.files.annotations, transitive = [layout_inputs(ctx.attr.images)]),
        outputs = [output, digest],
        mnemonic = "OciIndex",
        progress_message = "Assembling image index %{label}",
    )
    return layout_providers(ctx, output, digest, targets = ctx.attr.images)

oci_image_index_rule = rule(
    implementation = _oci_image_index_impl,
    doc = _DOC,
    attrs = _ATTRS | DIGEST_ATTR,
)

def oci_image_index(name, images, annotations = None, platforms = [], **kwargs):
    """Declare a multi-platform image.

    Args:
        name: the target; its output directory has the same name, `<name>.digest` has its digest.
        images: OCI layouts, one for each platform; a target may have several.
        annotations: dictionary, or a file of `key=value` lines.
        platforms: build the one image of `images` once for each of these platforms.
        **kwargs: attributes common to all rules.
    """
    common = common_attributes(kwargs)
    oci_image_index_rule(
        name = name,
        images = images,
        annotations = pairs_file(name, "annotations", annotations, **common),
        platforms = platforms,
        digest_out = name + ".json.sha256",
        **kwargs
    )
    digest_target(name, **common)
