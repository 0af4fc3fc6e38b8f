"""What lists and dictionaries of a macro's caller must not hold. Macros fail before there is a target, so a rule asks."""

load("//tools/oci:text_files.bzl", "pairs_file", "set_file")

def _text_file_of_impl(ctx):
    if ctx.attr.members:
        set_file(ctx.label.name, "volumes", ctx.attr.members)
    else:
        pairs_file(ctx.label.name, "env", ctx.attr.pairs)

text_file_of = rule(
    implementation = _text_file_of_impl,
    doc = "Asks for the file that volumes or an environment of these would become; they must be refused.",
    attrs = {
        "members": attr.string_list(),
        "pairs": attr.string_dict(),
    },
)
