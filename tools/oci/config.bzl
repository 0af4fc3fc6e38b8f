"""oci_image_config: any OCI layout → the same image with a healthcheck and other settings that upstream lacks."""

load("//tools:worker.bzl", "WORKER", "worker_args")
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
load(":image.bzl", "AnnotationsInfo")
load(":text_files.bzl", "common_attributes")

_DOC = """\
Sets the healthcheck, stop signal, shell and media types of an image of any rule, and the compression
of the layers that this build writes.

podman reads a healthcheck only from an image of Docker's media types, so those are the default when
there is one. Settings that would lose the healthcheck are an error. Docker's manifests have no
annotations: those of a base are left out, with a note; those that an `oci_image` of the build sets
are an error.
"""

_DURATIONS = [
    "healthcheck_interval",
    "healthcheck_timeout",
    "healthcheck_start_period",
    "healthcheck_start_interval",
]

# As text of a Label, since a transition resolves plain strings in the main repository.
_COMPRESSION = str(Label("//tools/archive:compression"))
_LEVEL = str(Label("//tools/archive:compression_level"))
_PLATFORMS = "//command_line_option:platforms"

def _image_transition_impl(settings, attr):
    changed = {name: settings[name] for name in [_COMPRESSION, _LEVEL, _PLATFORMS]}
    if attr.platform:
        changed[_PLATFORMS] = [str(attr.platform)]
    if attr.compression:
        # Levels of different compressions are not comparable, so none is inherited.
        changed[_COMPRESSION] = attr.compression
        changed[_LEVEL] = -1
    if attr.compression_level != -1:
        changed[_LEVEL] = attr.compression_level
    return changed

_image_transition = transition(
    implementation = _image_transition_impl,
    inputs = [_COMPRESSION, _LEVEL, _PLATFORMS],
    outputs = [_COMPRESSION, _LEVEL, _PLATFORMS],
)

_ATTRS = {
    "allow_ignored_healthcheck": attr.bool(doc = "Allow media_types = 'oci' with a healthcheck, which podman then ignores."),
    "compression": attr.string(
        values = ["", "gzip", "none", "zstd"],
        doc = "Compression of the layers that this build writes. Empty: that of the build.",
    ),
    "compression_level": attr.int(
        default = -1,
        doc = "gzip 1 to 12, zstd 1 to 22. -1: the default of the compression.",
    ),
    "healthcheck": attr.string_list(
        doc = "`['CMD', program, argument...]`, `['CMD-SHELL', command]` or `['NONE']`.",
    ),
    "healthcheck_retries": attr.int(doc = "Consecutive failures that make the container unhealthy. 0: unset."),
    "image": attr.label(
        mandatory = True,
        cfg = _image_transition,
        doc = "An OCI layout of one image.",
    ),
    "media_types": attr.string(
        values = ["", "docker", "oci"],
        doc = "Empty: docker with a healthcheck, else those of the image.",
    ),
    "platform": attr.label(
        doc = "Build `image` for this platform. Without it: the target platform.",
        providers = [platform_common.PlatformInfo],
    ),
    "shell": attr.string_list(doc = "Shell of a CMD-SHELL healthcheck, such as `['/bin/sh', '-c']`."),
    "stop_signal": attr.string(doc = "Such as SIGTERM, TERM, SIGRTMIN+3 or 15, as Docker reads it."),
    "_allowlist_function_transition": attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
    "_config": attr.label(default = Label(":config"), executable = True, cfg = "exec"),
} | {name: attr.string(doc = "A duration such as 30s or 1m30s.") for name in _DURATIONS}

def _oci_image_config_impl(ctx):
    # An attribute with a transition is a list.
    image = ctx.attr.image[0]
    annotations = image[AnnotationsInfo] if AnnotationsInfo in image else AnnotationsInfo(files = depset())
    output = ctx.actions.declare_directory(ctx.label.name)
    digest = digest_file(ctx)
    args = worker_args(ctx)
    args.add_all("--input", [layout_of(image, "image")], expand_directories = False)
    args.add_all("--output", [output], expand_directories = False)
    args.add("--digest-output", digest)
    args.add("--label", label_text(ctx.label))
    for name in ["healthcheck", "shell"]:
        # As JSON, since an argument may have a newline.
        if getattr(ctx.attr, name):
            args.add(json.encode(getattr(ctx.attr, name)), format = "--{}=%s".format(name))
    for name in _DURATIONS + ["stop_signal", "media_types"]:
        if getattr(ctx.attr, name):
            args.add(getattr(ctx.attr, name), format = "--{}=%s".format(name.replace("_", "-")))
    if ctx.attr.healthcheck_retries:
        args.add("--healthcheck-retries", ctx.attr.healthcheck_retries)
    if ctx.attr.allow_ignored_healthcheck:
        args.add("--allow-ignored-healthcheck")
    args.add_all(annotations.files, before_each = "--annotations")
    ctx.actions.run(
        executable = ctx.executable._config,
        arguments = [args],
        execution_requirements = WORKER,
        inputs = depset(transitive = [layout_inputs([image]), annotations.files]),
        outputs = [output, digest],
        mnemonic = "OciImageConfig",
        progress_message = "Configuring image %{label}",
    )
    return layout_providers(ctx, output, digest, targets = [image]) + [annotations]

oci_image_config_rule = rule(
    implementation = _oci_image_config_impl,
    doc = _DOC,
    attrs = _ATTRS | DIGEST_ATTR,
)

def oci_image_config(name, image, **kwargs):
    """Declare an image with a healthcheck, stop signal, shell or other media types.

    Args:
        name: the target; its output directory has the same name, `<name>.digest` has its digest.
        image: an OCI layout of one image.
        **kwargs: the rule's other attributes, and those common to all rules.
    """
    oci_image_config_rule(
        name = name,
        image = image,
        digest_out = name + ".json.sha256",
        **kwargs
    )
    digest_target(name, **common_attributes(kwargs))
