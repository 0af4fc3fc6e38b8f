"""An image as other rulesets may provide it: in an output group, besides default outputs."""

def _image_in_group_impl(ctx):
    files = ctx.attr.image[DefaultInfo].files
    return [
        DefaultInfo(
            files = depset(ctx.files.other),
            runfiles = ctx.attr.image[DefaultInfo].default_runfiles,
        ),
        OutputGroupInfo(**{ctx.attr.group: files}),
    ]

image_in_group = rule(
    implementation = _image_in_group_impl,
    doc = "Provides `image` in the output group `group`, and `other` as default output.",
    attrs = {
        "group": attr.string(mandatory = True),
        "image": attr.label(mandatory = True),
        "other": attr.label_list(allow_files = True),
    },
)
