"""`packages_above`: the packages of a group that a lower layer does not have."""

def _packages_above_impl(ctx):
    below = {file: None for file in ctx.files.below}
    return [DefaultInfo(files = depset([file for file in ctx.files.debs if file not in below]))]

packages_above = rule(
    implementation = _packages_above_impl,
    doc = """Leave out of a self-contained group of Debian packages what a lower layer has already.

    packages_above(
        name = "server",
        below = ["@debian//:base"],
        debs = ["@debian//:redis"],
    )
""",
    attrs = {
        "below": attr.label_list(allow_files = [".deb"], doc = "Packages of the layers below.", mandatory = True),
        "debs": attr.label_list(allow_files = [".deb"], doc = "The group.", mandatory = True),
    },
)
