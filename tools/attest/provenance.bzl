"""`image_provenance` and `image_statement`: an image → what is said of it, to be signed."""

load("@bazel_skylib//rules:common_settings.bzl", "BuildSettingInfo")
load("//tools/image:layout_rules.bzl", "label_text", "layout_inputs", "layout_of")
load("//tools/proof:steps.bzl", "BuildStepsInfo", "build_steps_aspect")

_DOC = """\
Write the SLSA provenance of an image or index: what Bazel's actions made it from.

    image_provenance(
        name = "provenance",
        components = [":sbom_components"],
        image = ":image",
        locks = ["//third_party/bazel:root.lock.json"],
    )

Same image, same bytes: who built it and from which commit is in it only where asked, with the flags
--//tools/attest:builder=URI and --//tools/attest:source=git+https://…@COMMIT.
"""

def _image_provenance_impl(ctx):
    info = ctx.attr.image[BuildStepsInfo]

    # The rest is made by the actions themselves.
    files = [file for file in info.files.to_list() if file.is_source]
    description = ctx.actions.declare_file(ctx.label.name + ".build.json")
    ctx.actions.write(description, json.encode_indent({
        "actions": [json.decode(step)["mnemonic"] for step in info.steps.to_list()],
        "builder": ctx.attr._builder[BuildSettingInfo].value,
        "files": {file.path: label_text(file.owner) for file in files},
        "locks": {file.path: label_text(file.owner) for file in ctx.files.locks},
        "source": ctx.attr._source[BuildSettingInfo].value,
        "target": label_text(ctx.attr.image.label),
    }))
    out = ctx.actions.declare_file(ctx.label.name + ".json")
    args = ctx.actions.args()
    args.add_all("--image", [layout_of(ctx.attr.image, "image")], expand_directories = False)
    args.add("--build", description)
    args.add_all(ctx.files.components, before_each = "--components")
    args.add("--out", out)
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = depset(
            files + ctx.files.components + ctx.files.locks + [description],
            transitive = [layout_inputs([ctx.attr.image])],
        ),
        outputs = [out],
        mnemonic = "ImageProvenance",
        progress_message = "Writing the provenance %{output}",
    )
    return [DefaultInfo(files = depset([out]))]

image_provenance = rule(
    implementation = _image_provenance_impl,
    doc = _DOC,
    attrs = {
        "components": attr.label_list(
            allow_files = [".json"],
            doc = "The `sbom_components` of the image; of an index, of all its images.",
            mandatory = True,
        ),
        "image": attr.label(
            aspects = [build_steps_aspect],
            doc = "An OCI layout, of an image or an index.",
            mandatory = True,
        ),
        "locks": attr.label_list(
            allow_files = True,
            doc = "What pins the programs that build: Bazel's root, the tools' wheels.",
        ),
        "_builder": attr.label(default = Label(":builder")),
        "_source": attr.label(default = Label(":source")),
        "_tool": attr.label(default = Label(":provenance"), executable = True, cfg = "exec"),
    },
)

_STATEMENT_DOC = """\
Write an in-toto statement: a document, such as an SBOM, about an image.

    image_statement(
        name = "sbom_statement",
        image = ":image",
        predicate = ":sbom_spdx",
        predicate_type = "spdxjson",
    )
"""

def _image_statement_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".json")
    args = ctx.actions.args()
    args.add_all("--image", [layout_of(ctx.attr.image, "image")], expand_directories = False)
    args.add("--predicate", ctx.file.predicate)
    args.add("--type", ctx.attr.predicate_type)
    args.add("--name", label_text(ctx.attr.image.label))
    args.add("--out", out)
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = depset([ctx.file.predicate], transitive = [layout_inputs([ctx.attr.image])]),
        outputs = [out],
        mnemonic = "ImageStatement",
        progress_message = "Writing the statement %{output}",
    )
    return [DefaultInfo(files = depset([out]))]

image_statement = rule(
    implementation = _image_statement_impl,
    doc = _STATEMENT_DOC,
    attrs = {
        "image": attr.label(mandatory = True, doc = "An OCI layout, of an image or an index."),
        "predicate": attr.label(allow_single_file = [".json"], mandatory = True, doc = "The document."),
        "predicate_type": attr.string(
            doc = "cosign's short name (spdxjson, cyclonedx, openvex), or the type's URI.",
            mandatory = True,
        ),
        "_tool": attr.label(default = Label(":statement_of"), executable = True, cfg = "exec"),
    },
)
