"""Invalid lists and dictionaries of macros. A macro fails before there is a target, so a rule calls its helpers."""

load("//tools/oci:text_files.bzl", "arguments_file", "pairs_file", "set_file")

def _text_file_of_impl(ctx):
    if ctx.attr.arguments:
        arguments_file(ctx.label.name, "cmd", ctx.attr.arguments)
    elif ctx.attr.members:
        set_file(ctx.label.name, "volumes", ctx.attr.members)
    else:
        pairs_file(ctx.label.name, "env", ctx.attr.pairs)

text_file_of = rule(
    implementation = _text_file_of_impl,
    doc = "Makes the file of these arguments, volumes or environment, which must be refused.",
    attrs = {
        "arguments": attr.string_list(),
        "members": attr.string_list(),
        "pairs": attr.string_dict(),
    },
)
