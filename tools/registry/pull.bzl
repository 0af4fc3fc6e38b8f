"""oci_pull: an image in a registry → repositories whose targets are OCI layouts.

    oci_pull(
        name = "distroless_base",
        digest = "sha256:...",
        image = "registry.example/distroless/base",
        platforms = ["linux/amd64", "linux/arm64/v8"],
    )

Then `@distroless_base` is the image for the target platform, and `@distroless_base_linux_amd64` that
of one platform.
"""

load(":pull_repository.bzl", "oci_image_alias", "oci_image_repository")

# Platforms among which the alias chooses; any other is used by the name of its repository.
_CPUS = {
    "linux/386": "@platforms//cpu:i386",
    "linux/amd64": "@platforms//cpu:x86_64",
    "linux/arm": "@platforms//cpu:armv7",
    "linux/arm/v7": "@platforms//cpu:armv7",
    "linux/arm64": "@platforms//cpu:arm64",
    "linux/arm64/v8": "@platforms//cpu:arm64",
    "linux/mips64le": "@platforms//cpu:mips64",
    "linux/ppc64le": "@platforms//cpu:ppc",
    "linux/riscv64": "@platforms//cpu:riscv64",
    "linux/s390x": "@platforms//cpu:s390x",
}

def parse_image(image):
    """Split `[SCHEME://]NAME[:TAG][@DIGEST]`; a missing part is None.

    Args:
        image: value of the attribute.

    Returns:
        A struct with the fields name (scheme included), tag and digest.
    """
    rest, _, digest = image.partition("@")
    directory, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    return struct(name = directory + slash + last, tag = tag or None, digest = digest or None)

def pull_request(image = None, registry = None, repository = None, digest = None, tag = None, reproducible = True):
    """Return what to pull; fail when the attributes contradict each other.

    Args:
        image: see parse_image.
        registry: host, instead of `image`.
        repository: name below the host, with `registry`.
        digest: `sha256:...`.
        tag: a tag; ignored when there is a digest.
        reproducible: False if the tag is meant to move.

    Returns:
        A struct with the fields name and reference, a digest or a tag.
    """
    if bool(registry) != bool(repository):
        fail("When one of repository or registry is set, the other must be as well")
    if image and registry:
        fail("Only one of 'image' or '{registry, repository}' may be set")
    if not image and not registry:
        fail("One of 'image' or '{registry, repository}' must be set")
    parsed = parse_image(image or "{}/{}".format(registry, repository))
    digest = parsed.digest or digest
    tag = parsed.tag or tag
    if digest and tag and not reproducible:
        fail("Only one of 'digest' or 'tag' may be set when 'reproducible' is False. " +
             "Set 'reproducible' to True to silence this failure.")
    if not digest and not tag:
        fail("At least one of 'digest' or 'tag' must be set")
    if digest and not _is_digest(digest):
        fail("'digest' must be 'sha256:' and 64 lower-case hexadecimal digits, found '{}'".format(digest))
    return struct(name = parsed.name, reference = digest or tag)

def _is_digest(text):
    encoded = text.removeprefix("sha256:")
    return encoded != text and len(encoded) == 64 and not encoded.strip("0123456789abcdef")

def alias_platforms(name, platforms):
    """Return, for the alias, each platform's constraint with the name of its repository.

    Args:
        name: name of the oci_pull.
        platforms: `os/architecture[/variant]` of each image.

    Returns:
        A dictionary.
    """
    by_cpu = {
        _CPUS[platform]: platform_repository(name, platform)
        for platform in platforms
        if platform in _CPUS
    }
    if not by_cpu:
        fail("None of the provided platforms ({}) are supported. Supported platforms: {}".format(
            platforms,
            _CPUS.keys(),
        ))
    return by_cpu

def platform_repository(name, platform):
    """Return the name of the repository of one platform's image."""
    return "_".join([name] + platform.split("/"))

# buildifier: disable=unused-variable
def oci_pull(
        name,
        image = None,
        repository = None,
        registry = None,
        platforms = None,
        digest = None,
        tag = None,
        reproducible = True,
        is_bzlmod = False,
        config = None,
        www_authenticate_challenges = {},
        bazel_tags = []):
    """Declare the repositories of an image in a registry; each is fetched when a target needs it.

    Args:
        name: the image is the target `@<name>`, its digest the file `@<name>//:digest`.
        image: `[http://]HOST/NAME[:TAG][@DIGEST]`; http for a registry without TLS.
        repository: name below `registry`, instead of `image`.
        registry: host, instead of `image`.
        platforms: `os/architecture[/variant]` of each image of a multi-platform image.
        digest: `sha256:...` of the image or index, which pins it.
        tag: a tag; without a digest it is resolved at every fetch, with a warning.
        reproducible: False turns that warning off.
        is_bzlmod: accepted for compatibility.
        config: a docker config.json, then the only file with credentials. By default those of
            docker and podman are used.
        www_authenticate_challenges: accepted for compatibility; the registry's own challenge is used.
        bazel_tags: tags of the generated targets.
    """
    request = pull_request(
        digest = digest,
        image = image,
        registry = registry,
        repository = repository,
        reproducible = reproducible,
        tag = tag,
    )
    common = {"config": config, "image": request.name, "reference": request.reference}
    if platforms:
        for platform in platforms:
            oci_image_repository(
                name = platform_repository(name, platform),
                bazel_tags = bazel_tags,
                platform = platform,
                **common
            )
        by_cpu = alias_platforms(name, platforms)
    else:
        oci_image_repository(name = name + "_single", bazel_tags = bazel_tags, **common)
        by_cpu = {}
    oci_image_alias(
        name = name,
        by_cpu = by_cpu,
        platforms = platforms or [],
        reproducible = reproducible,
        single = "" if platforms else name + "_single",
        **common
    )
