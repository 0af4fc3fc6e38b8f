"""`release`: the machinery as one archive for other repositories."""

VERSION = "2.0.0"

def _release_impl(ctx):
    name = "pinned_image-" + ctx.attr.version
    archive = ctx.actions.declare_file(name + ".tar.gz")
    descriptor = ctx.actions.declare_file(name + ".json")
    snippet = ctx.actions.declare_file(name + ".txt")
    args = ctx.actions.args()
    args.add("--version", ctx.attr.version)
    args.add("--module", ctx.file.module)
    args.add("--out", archive)
    args.add("--descriptor", descriptor)
    args.add("--snippet", snippet)
    args.add_all(ctx.files.srcs, before_each = "--source")
    args.use_param_file("@%s", use_always = True)
    args.set_param_file_format("multiline")
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = ctx.files.srcs + [ctx.file.module],
        outputs = [archive, descriptor, snippet],
        mnemonic = "Release",
        progress_message = "Packing %{output}",
    )
    return [
        DefaultInfo(files = depset([archive, snippet])),
        OutputGroupInfo(archive = depset([archive])),
    ]

release = rule(
    implementation = _release_impl,
    doc = "Packs files as `pinned_image-<version>.tar.gz`, and writes what to paste into a WORKSPACE beside it.",
    attrs = {
        "module": attr.label(allow_single_file = True, doc = "Template of the release's MODULE.bazel.", mandatory = True),
        "srcs": attr.label_list(allow_files = True, doc = "The files of `release_sources`.", mandatory = True),
        "version": attr.string(doc = "The release's version.", mandatory = True),
        "_tool": attr.label(cfg = "exec", default = Label(":release_tool"), executable = True),
    },
)
