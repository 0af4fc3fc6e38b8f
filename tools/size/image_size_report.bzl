"""`image_size_report`: where an image's bytes are and why, as text, JSON and a page."""

load("//tools/image:layout_rules.bzl", "layout_inputs", "layout_of")

_DOC = """Tell per layer and per package how large it is and why it is there.

Makes `<name>.txt`, `<name>.json` and `<name>.html`, a treemap that needs nothing else; `bazel run` prints the
text. Takes any OCI layout whose Debian packages and wheels can be seen (status.d, dist-info).

    image_size_report(
        name = "size_report",
        image = ":image",
        ...
    )
"""

# Finds the text beside itself, where both bazel run and a runfiles tree have it.
_PRINT = """#!/bin/sh
cat "$(dirname "$0")/{text}"
echo "as a page: $(dirname "$0")/{page}" >&2
"""

def _image_size_report_impl(ctx):
    text, data, page = [
        ctx.actions.declare_file("{}.{}".format(ctx.label.name, extension))
        for extension in ("txt", "json", "html")
    ]
    args = ctx.actions.args()
    args.add("--image", layout_of(ctx.attr.image, "image").path)
    args.add("--name", ctx.attr.title or ctx.attr.image.label.name)
    args.add_all(ctx.attr.layers, before_each = "--layer")
    args.add("--debian-lock", ctx.file.debian_lock)
    args.add("--debian-intent", ctx.file.debian_intent)
    args.add("--python-lock", ctx.file.python_lock)
    args.add("--python-intent", ctx.file.python_intent)
    args.add_all(ctx.files.allowlist, before_each = "--allowlist")
    args.add_all(ctx.files.baseline, before_each = "--baseline")
    args.add("--text", text)
    args.add("--json", data)
    args.add("--page", page)
    files = [ctx.file.debian_lock, ctx.file.debian_intent, ctx.file.python_lock, ctx.file.python_intent]
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = depset(files + ctx.files.allowlist + ctx.files.baseline, transitive = [layout_inputs([ctx.attr.image])]),
        outputs = [text, data, page],
        mnemonic = "ImageSizeReport",
        progress_message = "Measuring %{label}",
    )
    program = ctx.actions.declare_file(ctx.label.name + ".sh")
    ctx.actions.write(program, _PRINT.format(text = text.basename, page = page.basename), is_executable = True)
    outputs = [text, data, page]
    return [
        DefaultInfo(executable = program, files = depset(outputs), runfiles = ctx.runfiles(outputs)),
        OutputGroupInfo(json = depset([data]), page = depset([page]), text = depset([text])),
    ]

_LOCK = "Says what is there and what depends on what."

_INTENT = "Says what was asked for, and why."

image_size_report = rule(
    implementation = _image_size_report_impl,
    doc = _DOC,
    attrs = {
        "allowlist": attr.label_list(
            allow_files = [".yaml"],
            doc = "Lists of files that are of no package, with reasons (allowlist.py).",
        ),
        "baseline": attr.label(allow_single_file = [".json"], doc = "What to compare with: name, raw, compressed, files, packages."),
        "debian_intent": attr.label(allow_single_file = [".yaml"], doc = _INTENT, mandatory = True),
        "debian_lock": attr.label(allow_single_file = [".json"], doc = _LOCK, mandatory = True),
        "image": attr.label(doc = "One OCI layout directory.", mandatory = True),
        "layers": attr.string_list(doc = "Names of the layers, the lowest first; by default those of the targets that made them."),
        "python_intent": attr.label(allow_single_file = [".in"], doc = _INTENT, mandatory = True),
        "python_lock": attr.label(allow_single_file = [".txt"], doc = _LOCK, mandatory = True),
        "title": attr.string(doc = "What to call the image; by default its target's name."),
        "_tool": attr.label(cfg = "exec", default = Label("//tools/size:report"), executable = True),
    },
    executable = True,
)
