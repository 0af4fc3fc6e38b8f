"""`qemu_user`: the emulator of one architecture, from Debian's package."""

# As images name them.
EMULATED = [
    "amd64",
    "arm64",
]

_DOC = """Extract one emulator from a `qemu-user-static` or `qemu-user` package, for tests of images of another architecture.

    qemu_user(
        name = "qemu_arm64",
        architecture = "arm64",
        deb = "@pinned_image_debian//:qemu_amd64",
    )

A structure test with `platform = "linux/arm64"` runs an image's commands in the one that
//tools/container:emulator_arm64 names.
"""

_ATTRS = {
    "architecture": attr.string(
        doc = "Architecture of the programs that it runs, as images name it.",
        mandatory = True,
        values = EMULATED,
    ),
    "deb": attr.label(
        allow_files = [".deb"],
        doc = "The package, for the machine that tests run on.",
        mandatory = True,
    ),
    "_tool": attr.label(default = Label("//tools/container:qemu_user"), executable = True, cfg = "exec"),
}

def _qemu_user_impl(ctx):
    if len(ctx.files.deb) != 1:
        fail("qemu_user {}: 'deb' {} must be one package, found {}".format(ctx.label, ctx.attr.deb.label, len(ctx.files.deb)))
    output = ctx.actions.declare_file(ctx.label.name)
    args = ctx.actions.args()
    args.add("--architecture", ctx.attr.architecture)
    args.add("--deb", ctx.files.deb[0])
    args.add("--out", output)
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = ctx.files.deb,
        outputs = [output],
        mnemonic = "QemuUser",
        progress_message = "Unpacking the emulator of %{label}",
    )
    return [DefaultInfo(files = depset([output]), executable = output)]

qemu_user = rule(
    implementation = _qemu_user_impl,
    doc = _DOC,
    attrs = _ATTRS,
    executable = True,
)
