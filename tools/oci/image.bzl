"""oci_image: layers, a base and edits → an OCI layout."""

load("//tools:worker.bzl", "WORKER", "worker_args")
load("//tools/archive:layer_info.bzl", "LayerInfo")
load(
    "//tools/image:layout_rules.bzl",
    "DIGEST_ATTR",
    "digest_file",
    "digest_target",
    "label_text",
    "layout_inputs",
    "layout_of",
    "layout_providers",
)
load(":resource_sets.bzl", "RESOURCE_SETS")
load(":text_files.bzl", "arguments_file", "common_attributes", "pairs_file", "set_file")

_TAR_EXTENSIONS = [".tar", ".tgz", ".tar.gz", ".tzst", ".tar.zst"]

_DOC = """\
Makes a container image: an OCI layout directory with JSON and relative links to layers.

No layer is copied, neither here nor by rules that take the image. A rule that passes the directory on
must merge its default_runfiles as well. A tar with LayerInfo costs nothing; any other costs one
OciDescriptor action that reads it.
"""

AnnotationsInfo = provider(
    doc = "Annotations that targets of this build set, as opposed to those of a base that was fetched.",
    fields = {"files": "depset of files of `key=value` lines."},
)

# Attributes that are files in the rule and files, lists or dictionaries in the macro.
_FILES = {
    "annotations": "`key=value` lines: annotations of the manifest.",
    "cmd": "One argument a line.",
    "created": "A time in RFC 3339. Without it: 1970-01-01T00:00:00Z, or the base's.",
    "entrypoint": "One argument a line. It also drops the base's cmd.",
    "env": "`KEY=value` lines. `$NAME` and `${NAME}` are values set before, in the base or here.",
    "exposed_ports": "Ports such as `8000/tcp`, separated by commas; added to the base's.",
    "labels": "`key=value` lines; merged over the base's.",
    "volumes": "Paths, separated by commas; added to the base's.",
}

_ATTRS = {
    "architecture": attr.string(doc = "As Go names it: amd64, arm64, ... Only without a base."),
    "base": attr.label(allow_single_file = True, doc = "The image to build on: an OCI layout."),
    "os": attr.string(doc = "As Go names it: linux. Only without a base."),
    "resource_set": attr.string(
        default = "default",
        values = RESOURCE_SETS.keys(),
        doc = "Resources that the action reserves. Accepted for compatibility; it needs few.",
    ),
    "tars": attr.label_list(
        allow_files = _TAR_EXTENSIONS,
        doc = "Layers, lowest first. Compression is detected. Do not sort.",
    ),
    "user": attr.string(doc = "user[:group], names or numbers. Empty: the base's."),
    "variant": attr.string(doc = "Variant of the architecture. Only without a base."),
    "workdir": attr.string(doc = "Working directory. Empty: the base's."),
    "_descriptor": attr.label(default = Label(":descriptor"), executable = True, cfg = "exec"),
    "_image": attr.label(default = Label(":image"), executable = True, cfg = "exec"),
} | {name: attr.label(allow_single_file = True, doc = doc) for name, doc in _FILES.items()}

def _layers(ctx):
    """Return pairs of a tar and its descriptor, in the order of `tars`."""
    layers = []
    for target in ctx.attr.tars:
        if LayerInfo in target:
            layers.append((target[LayerInfo].blob, target[LayerInfo].descriptor))
        else:
            for tar in target[DefaultInfo].files.to_list():
                layers.append((tar, _descriptor(ctx, tar, len(layers))))
    return layers

def _descriptor(ctx, tar, position):
    output = ctx.actions.declare_file("{}.{}.descriptor.json".format(ctx.label.name, position))
    args = worker_args(ctx)
    args.add("--label", label_text(ctx.label))
    args.add("--layer", tar)
    args.add("--output", output)
    ctx.actions.run(
        executable = ctx.executable._descriptor,
        arguments = [args],
        execution_requirements = WORKER,
        inputs = [tar],
        outputs = [output],
        mnemonic = "OciDescriptor",
        progress_message = "Describing layer %{input}",
    )
    return output

def _oci_image_impl(ctx):
    if not ctx.attr.base and not (ctx.attr.os and ctx.attr.architecture):
        fail("'os' and 'architecture' are mandatory when 'base' is unspecified.")
    if ctx.attr.base and (ctx.attr.os or ctx.attr.architecture or ctx.attr.variant):
        fail("'os', 'architecture' and 'variant' come from the image provided by 'base' and " +
             "cannot be overridden.")
    output = ctx.actions.declare_directory(ctx.label.name)
    digest = digest_file(ctx)
    layers = _layers(ctx)
    bases = [ctx.attr.base] if ctx.attr.base else []
    files = {name: getattr(ctx.file, name) for name in _FILES if getattr(ctx.file, name)}

    args = worker_args(ctx)
    args.add_all("--output", [output], expand_directories = False)
    args.add("--digest-output", digest)
    args.add("--label", label_text(ctx.label))
    for base in bases:
        args.add_all("--base", [layout_of(base, "base")], expand_directories = False)
    for tar, descriptor in layers:
        # The history names the target of the layer, not that of the image.
        args.add_all("--layer", [label_text(tar.owner), tar, descriptor])
    for name, file in files.items():
        args.add("--" + name.replace("_", "-"), file)
    for name in ("os", "architecture", "variant", "user", "workdir"):
        if getattr(ctx.attr, name):
            args.add(getattr(ctx.attr, name), format = "--{}=%s".format(name))

    # Only descriptors are read, but Bazel follows the links of the output to digest it.
    tars = [tar for tar, _ in layers]
    ctx.actions.run(
        executable = ctx.executable._image,
        arguments = [args],
        execution_requirements = WORKER,
        inputs = depset(
            tars + [descriptor for _, descriptor in layers] + files.values(),
            transitive = [layout_inputs(bases)],
        ),
        outputs = [output, digest],
        mnemonic = "OciImage",
        progress_message = "Assembling image %{label}",
        resource_set = RESOURCE_SETS[ctx.attr.resource_set],
    )
    annotations = depset(
        ctx.files.annotations,
        transitive = [base[AnnotationsInfo].files for base in bases if AnnotationsInfo in base],
    )
    return layout_providers(ctx, output, digest, files = tars, targets = bases) + [AnnotationsInfo(files = annotations)]

oci_image_rule = rule(
    implementation = _oci_image_impl,
    doc = _DOC,
    attrs = _ATTRS | DIGEST_ATTR,
)

def oci_image(
        name,
        entrypoint = None,
        cmd = None,
        env = None,
        labels = None,
        annotations = None,
        exposed_ports = None,
        volumes = None,
        **kwargs):
    """Declare a container image, with lists and dictionaries where the rule takes files.

    Args:
        name: the target; its output directory has the same name, `<name>.digest` has its digest.
        entrypoint: list of strings, or a file with one argument a line.
        cmd: as entrypoint.
        env: dictionary, or a file of `KEY=value` lines; `$NAME` is a value set before.
        labels: dictionary, or a file of `key=value` lines.
        annotations: as labels.
        exposed_ports: list, or a file of ports separated by commas.
        volumes: list, or a file of paths separated by commas.
        **kwargs: the rule's other attributes, and those common to all rules.
    """
    common = common_attributes(kwargs)
    oci_image_rule(
        name = name,
        entrypoint = arguments_file(name, "entrypoint", entrypoint, **common),
        cmd = arguments_file(name, "cmd", cmd, **common),
        env = pairs_file(name, "env", env, **common),
        labels = pairs_file(name, "labels", labels, **common),
        annotations = pairs_file(name, "annotations", annotations, **common),
        exposed_ports = set_file(name, "exposed_ports", exposed_ports, **common),
        volumes = set_file(name, "volumes", volumes, **common),
        digest_out = name + ".json.sha256",
        **kwargs
    )
    digest_target(name, **common)
