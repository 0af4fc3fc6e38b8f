"""site_packages: Python libraries → a list of the directories that they and all they need are imported from."""

load("@rules_python//python:defs.bzl", "PyInfo")

def _site_packages_impl(ctx):
    for dep in ctx.attr.deps:
        if not dep[PyInfo].imports.to_list():
            fail("{}: deps: {} adds no directory to Python's path; wanted the library of a wheel, such as requirement(\"pytest\")".format(
                ctx.label,
                dep.label,
            ))
    output = ctx.actions.declare_file(ctx.label.name + ".txt")
    lines = ctx.actions.args()
    lines.set_param_file_format("multiline")
    lines.add_all(depset(transitive = [dep[PyInfo].imports for dep in ctx.attr.deps]))
    ctx.actions.write(output, lines)
    runfiles = ctx.runfiles([output]).merge_all([dep[DefaultInfo].default_runfiles for dep in ctx.attr.deps])
    return [DefaultInfo(files = depset([output]), runfiles = runfiles)]

site_packages = rule(
    implementation = _site_packages_impl,
    doc = "Lists the import directories of `deps` and their transitive dependencies, one a line, below the runfiles.",
    attrs = {
        "deps": attr.label_list(
            providers = [PyInfo],
            doc = "Libraries of wheels, such as requirement(\"pytest\").",
        ),
    },
)
