"""What rulesets that know nothing of ours do with an image: they take the directory and the runfiles."""

def _copied_layout_impl(ctx):
    output = ctx.actions.declare_directory(ctx.label.name)
    image = ctx.attr.image[DefaultInfo]
    ctx.actions.run_shell(
        command = 'cp -rL "$1/." "$2"',
        arguments = [image.files.to_list()[0].path, output.path],
        inputs = depset(transitive = [image.files, image.default_runfiles.files]),
        outputs = [output],
        mnemonic = "CopyLayout",
    )
    return [DefaultInfo(files = depset([output]))]

copied_layout = rule(
    implementation = _copied_layout_impl,
    doc = "An OCI layout with its blobs inside.",
    attrs = {"image": attr.label(mandatory = True)},
)

_PLATFORMS = "//command_line_option:platforms"

def _each_platform_impl(_settings, attr):
    return {str(platform): {_PLATFORMS: str(platform)} for platform in attr.platforms}

_each_platform = transition(
    implementation = _each_platform_impl,
    inputs = [],
    outputs = [_PLATFORMS],
)

def _built_for_impl(ctx):
    images = [image[DefaultInfo] for image in ctx.attr.image]
    runfiles = ctx.runfiles().merge_all([image.default_runfiles for image in images])
    return [DefaultInfo(files = depset(transitive = [image.files for image in images]), runfiles = runfiles)]

built_for = rule(
    implementation = _built_for_impl,
    doc = "One image, once for each platform: a target with several layouts.",
    attrs = {
        "image": attr.label(mandatory = True, cfg = _each_platform),
        "platforms": attr.label_list(mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)
