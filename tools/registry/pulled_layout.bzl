"""pulled_layout: files of a pulled image → an OCI layout directory, as of every other rule."""

load("//tools/image:layout_rules.bzl", "digest_file", "label_text", "layout_providers")

_ATTRS = {
    "blobs": attr.label_list(allow_files = True, mandatory = True, doc = "The files below blobs/."),
    "digest_out": attr.output(doc = "File for the digest."),
    "index": attr.label(allow_single_file = True, mandatory = True, doc = "index.json."),
    "layout": attr.label(allow_single_file = True, mandatory = True, doc = "oci-layout."),
    "_pulled_layout": attr.label(default = Label(":pulled_layout"), executable = True, cfg = "exec"),
}

def _pulled_layout_impl(ctx):
    output = ctx.actions.declare_directory(ctx.label.name)
    digest = digest_file(ctx)
    args = ctx.actions.args()
    args.add("--input", ctx.file.index.dirname)
    args.add_all("--output", [output], expand_directories = False)
    args.add("--digest-output", digest)
    args.add("--label", label_text(ctx.label))
    ctx.actions.run(
        executable = ctx.executable._pulled_layout,
        arguments = [args],
        inputs = [ctx.file.index, ctx.file.layout] + ctx.files.blobs,
        outputs = [output, digest],
        mnemonic = "OciPulledLayout",
        progress_message = "Linking pulled image %{label}",
    )
    return layout_providers(ctx, output, digest, files = ctx.files.blobs)

pulled_layout = rule(
    implementation = _pulled_layout_impl,
    doc = "A layout directory whose layers link to files of a repository.",
    attrs = _ATTRS,
)
