"""The repositories that oci_pull declares: one for each image, and an alias that chooses among them.

Every byte is verified by its digest and kept in Bazel's repository cache, so an image pulled by digest
needs the network only once. pull.py does the work.
"""

# Where docker's and podman's credentials are; a change fetches again.
_ENVIRON = ["DOCKER_CONFIG", "HOME", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"]

# An index, a manifest, then config and layers: each names the next.
_ROUNDS = 3

_ATTRS = {
    "config": attr.label(allow_single_file = True, doc = "A docker config.json."),
    "image": attr.string(mandatory = True, doc = "[http://]HOST/NAME."),
    "reference": attr.string(mandatory = True, doc = "A digest or a tag."),
    "_pull": attr.label(default = Label(":pull.py"), allow_single_file = True),
    "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
}

_IMAGE_BUILD = """\
load("{rule}", "pulled_layout")

pulled_layout(
    name = "{name}",
    blobs = glob(["blobs/**"]),
    index = "index.json",
    layout = "oci-layout",
    tags = {tags},
    visibility = ["//visibility:public"],
)
"""

_ALIAS_BUILD = """\
exports_files(["digest"])

alias(
    name = "{name}",
    actual = {actual},
    visibility = ["//visibility:public"],
)
"""

_SELECT = """select(
        {by_cpu},
        no_match_error = "@{name} has no image for the target platform, only for: {platforms}",
    )"""

def _pull(ctx, command, arguments):
    """Run pull.py and return its standard output."""
    program = ctx.path(ctx.attr._pull)
    config = ["--config={}".format(ctx.path(ctx.attr.config))] if ctx.attr.config else []
    result = ctx.execute(
        [ctx.path(ctx.attr._python), program, command, "--image=" + ctx.attr.image] +
        config + arguments,
        environment = {
            "PYTHONDONTWRITEBYTECODE": "1",
            # The directory that tools/registry/pull.py is in.
            "PYTHONPATH": str(program.dirname.dirname.dirname),
        },
        timeout = 7200,
    )
    if result.return_code:
        fail("@{}: {}".format(ctx.name, result.stderr.strip() or result.stdout.strip()))
    return result.stdout.strip()

def _digest(ctx):
    if ctx.attr.reference.startswith("sha256:"):
        return ctx.attr.reference
    ctx.report_progress("resolving {}:{}".format(ctx.attr.image, ctx.attr.reference))
    return _pull(ctx, "resolve", ["--reference=" + ctx.attr.reference])

def _blob(digest):
    return "blobs/" + digest.replace(":", "/")

def _from_cache(ctx, digest):
    """Put a blob into the repository if Bazel's repository cache has it; return whether it has."""

    # Without a URL, Bazel looks only into its cache.
    found = ctx.download([], _blob(digest), allow_fail = True, sha256 = digest.removeprefix("sha256:"))
    return found.success

def _to_cache(ctx, digest):
    """Put a blob of the repository into Bazel's repository cache, through its own downloader."""
    ctx.download(
        "file://{}".format(ctx.path(_blob(digest))),
        "cached",
        sha256 = digest.removeprefix("sha256:"),
    )
    ctx.delete("cached")

def _oci_image_repository_impl(ctx):
    arguments = ["--reference=" + _digest(ctx), "--layout={}".format(ctx.path("."))]
    if ctx.attr.platform:
        arguments.append("--platform=" + ctx.attr.platform)
    fetched = []
    for _ in range(_ROUNDS):
        # Whatever is missing after the last round is fetched from the registry below.
        missing = json.decode(_pull(ctx, "missing", arguments))
        fetched = [digest for digest in missing if not _from_cache(ctx, digest)]
        if fetched or not missing:
            break
    if fetched:
        ctx.report_progress("fetching {} from {}".format(ctx.attr.reference, ctx.attr.image))
    for digest in json.decode(_pull(ctx, "fetch", arguments)):
        _to_cache(ctx, digest)
    ctx.file("BUILD.bazel", _IMAGE_BUILD.format(
        name = ctx.name,
        rule = Label(":pulled_layout.bzl"),
        tags = repr(ctx.attr.bazel_tags),
    ))

oci_image_repository = repository_rule(
    implementation = _oci_image_repository_impl,
    doc = "One image of a registry, for one platform.",
    attrs = _ATTRS | {
        "bazel_tags": attr.string_list(doc = "Tags of the target."),
        "platform": attr.string(doc = "os/architecture[/variant]; needed for an image index."),
    },
    environ = _ENVIRON,
)

def _oci_image_alias_impl(ctx):
    digest = _digest(ctx)
    if digest != ctx.attr.reference and ctx.attr.reproducible:
        # buildifier: disable=print
        print(("\nWARNING: oci_pull '{name}' pulls whatever image tag '{tag}' of {image} points to. " +
               "For reproducible builds, pin the current one:\n\n" +
               "    buildozer 'set digest \"{digest}\"' 'remove tag' WORKSPACE:{name}\n\n" +
               "or set 'reproducible = False' to turn this warning off.").format(
            digest = digest,
            image = ctx.attr.image,
            name = ctx.name,
            tag = ctx.attr.reference,
        ))
    if ctx.attr.single:
        actual = repr("@{0}//:{0}".format(ctx.attr.single))
    else:
        actual = _SELECT.format(
            name = ctx.name,
            by_cpu = {cpu: "@{0}//:{0}".format(repository) for cpu, repository in ctx.attr.by_cpu.items()},
            platforms = ", ".join(ctx.attr.platforms),
        )
    ctx.file("digest", digest + "\n")
    ctx.file("BUILD.bazel", _ALIAS_BUILD.format(name = ctx.name, actual = actual))

oci_image_alias = repository_rule(
    implementation = _oci_image_alias_impl,
    doc = "Chooses the image for the target platform.",
    attrs = _ATTRS | {
        "by_cpu": attr.string_dict(doc = "Label of a constraint to name of a repository."),
        "platforms": attr.string_list(doc = "All platforms, for messages."),
        "reproducible": attr.bool(default = True, doc = "Whether to warn about a tag."),
        "single": attr.string(doc = "Name of the one repository, when there are no platforms."),
    },
    environ = _ENVIRON,
)
