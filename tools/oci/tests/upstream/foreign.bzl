"""What a ruleset that knows nothing of ours does with an image: it takes the directory and the runfiles."""

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
