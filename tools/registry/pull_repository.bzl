"""The repositories that oci_pull declares: one for each image, and an alias that chooses among them.

Every byte is verified by its digest and kept in Bazel's repository cache, so an image pulled by digest
needs the network only once. pull.py does the work.
"""

load("//tools/apt:compile_tree.bzl", "PYTHON_ENVIRONMENT")

# Where docker's and podman's credentials are; a change of them asks again.
_ENVIRON = ["DOCKER_CONFIG", "HOME", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"]

# An index, a manifest, then config and layers: each names the next. An index may also hold others, and the platform
# of an entry may be in its config only.
_ROUNDS = 50

_ATTRS = {
    "config": attr.label(allow_single_file = True, doc = "A docker config.json."),
    "image": attr.string(mandatory = True, doc = "[http://]HOST/NAME."),
    "reference": attr.string(mandatory = True, doc = "A digest or a tag."),
    "_pull": attr.label(default = Label(":pull.py"), allow_single_file = True),
    "_python": attr.label(default = Label("@pinned_image_cpython//:python3")),
    "_workspace": attr.label(default = Label("//:BUILD.bazel")),
}

_PLATFORM_ATTR = {
    "platform": attr.string(doc = "os/architecture[/variant]; needed for an image index."),
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

def _run_pull(ctx, command, arguments):
    """Run pull.py; return the result of ctx.execute."""
    config = ["--config={}".format(ctx.path(ctx.attr.config))] if ctx.attr.config else []
    return ctx.execute(
        [ctx.path(ctx.attr._python), ctx.path(ctx.attr._pull), command, "--image=" + ctx.attr.image] +
        config + arguments,
        environment = PYTHON_ENVIRONMENT | {"PYTHONPATH": str(ctx.path(ctx.attr._workspace).dirname)},
        timeout = 7200,
    )

def _pull(ctx, command, arguments):
    """Run pull.py and return its standard output, or fail with its message."""
    result = _run_pull(ctx, command, arguments)
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
    """Put a blob into the repository when Bazel's repository cache has it; return whether it has."""

    # Without a URL, Bazel asks only its cache.
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

def _layout_arguments(ctx, digest):
    platform = ["--platform=" + ctx.attr.platform] if ctx.attr.platform else []
    return ["--reference=" + digest, "--layout={}".format(ctx.path("."))] + platform

def _take_from_cache(ctx, digest):
    """Put into the repository what the cache has of an image; return the digests of these blobs."""
    found = []
    for _ in range(_ROUNDS):
        result = _run_pull(ctx, "missing", _layout_arguments(ctx, digest))
        if result.return_code:
            break  # The image's own repository will fail for the same reason, and say it.
        missing = json.decode(result.stdout)
        hits = [blob for blob in missing if _from_cache(ctx, blob)]
        found += hits
        if not missing or len(hits) < len(missing):
            break
    return found

def _oci_cached_blobs_impl(ctx):
    digest = _digest(ctx)
    ctx.file("found.json", json.encode({"blobs": _take_from_cache(ctx, digest), "digest": digest}))
    ctx.file("BUILD.bazel", "")

_oci_cached_blobs = repository_rule(
    implementation = _oci_cached_blobs_impl,
    doc = """The blobs of an image that Bazel's repository cache has, and found.json, which names them.

A repository of its own, which does not fail once it has found something: when a fetch fails, Bazel prints a line
for each file that this repository took from the cache.""",
    attrs = _ATTRS | _PLATFORM_ATTR,
    environ = _ENVIRON,
)

def _oci_image_repository_impl(ctx):
    cache = ctx.path(ctx.attr.cache)
    found = json.decode(ctx.read(cache))
    for blob in found["blobs"]:
        ctx.symlink(cache.dirname.get_child(_blob(blob)), _blob(blob))

    # Once more, because the cache may have grown since that repository was fetched.
    _take_from_cache(ctx, found["digest"])
    arguments = _layout_arguments(ctx, found["digest"])
    if json.decode(_pull(ctx, "missing", arguments)):
        ctx.report_progress("fetching {} from {}".format(ctx.attr.reference, ctx.attr.image))
    for blob in json.decode(_pull(ctx, "fetch", arguments)):
        _to_cache(ctx, blob)
    ctx.file("BUILD.bazel", _IMAGE_BUILD.format(
        name = ctx.name,
        rule = Label(":pulled_layout.bzl"),
        tags = repr(ctx.attr.bazel_tags),
    ))

_oci_image_repository = repository_rule(
    implementation = _oci_image_repository_impl,
    doc = "One image of a registry, of one platform.",
    attrs = _ATTRS | _PLATFORM_ATTR | {
        "bazel_tags": attr.string_list(doc = "Tags of the target."),
        "cache": attr.label(mandatory = True, allow_single_file = True, doc = "found.json of `_oci_cached_blobs`."),
    },
    environ = _ENVIRON,
)

def oci_image_repository(name, bazel_tags = [], **kwargs):
    """Declare one image of a registry, of one platform.

    Args:
      name: name of the repository and of its target.
      bazel_tags: tags of the target.
      **kwargs: image, reference, platform and config.
    """
    cache = name + "_cached"
    _oci_cached_blobs(name = cache, **kwargs)
    _oci_image_repository(
        name = name,
        bazel_tags = bazel_tags,
        cache = "@{}//:found.json".format(cache),
        **kwargs
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
