"""oci_pull: an image in a registry -> repositories whose targets are OCI layouts.

    oci_pull(
        name = "distroless_base",
        digest = "sha256:...",
        image = "registry.example/distroless/base",
        platforms = ["linux/amd64", "linux/arm64/v8"],
    )

Then `@distroless_base` is the image for the platform that is built for, and
`@distroless_base_linux_amd64` the one of that platform.
"""

load(":pull_repository.bzl", "oci_image_alias", "oci_image_repository")

# Platforms that the alias can tell apart; of another one the repository is used by its own name.
_CPUS = {
    "linux/386": "@platforms//cpu:i386",
    "linux/amd64": "@platforms//cpu:x86_64",
    "linux/arm/v7": "@platforms//cpu:armv7",
    "linux/arm64": "@platforms//cpu:arm64",
    "linux/arm64/v8": "@platforms//cpu:arm64",
    "linux/mips64le": "@platforms//cpu:mips64",
    "linux/ppc64le": "@platforms//cpu:ppc",
    "linux/riscv64": "@platforms//cpu:riscv64",
    "linux/s390x": "@platforms//cpu:s390x",
}

def parse_image(image):
    """Splits `[SCHEME://]NAME[:TAG][@DIGEST]`; what is not there is None.

    Args:
        image: what the user wrote.

    Returns:
        A struct with the fields name (scheme included), tag and digest.
    """
    rest, _, digest = image.partition("@")
    directory, slash, last = rest.rpartition("/")
    last, _, tag = last.partition(":")
    return struct(name = directory + slash + last, tag = tag or None, digest = digest or None)

def pull_request(image = None, registry = None, repository = None, digest = None, tag = None, reproducible = True):
    """What to pull, from the ways in which a user may say it; fails when they contradict each other.

    Args:
        image: as parse_image has it.
        registry: host, instead of `image`.
        repository: name below the host, with `registry`.
        digest: `sha256:...`.
        tag: a tag; with a digest it is for people only.
        reproducible: False says that a tag is meant to move.

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
    """For the alias: the constraint of each platform it can tell apart, to the repository."""
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
    """The name of the repository of one platform's image."""
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
    """Declares the repositories of an image in a registry; each is fetched when a target needs it.

    Args:
        name: the image is the target `@<name>`, its digest the file `@<name>//:digest`.
        image: `[http://]HOST/NAME[:TAG][@DIGEST]`; http for a registry without TLS.
        repository: name below `registry`, instead of `image`.
        registry: host, instead of `image`.
        platforms: `os/architecture[/variant]` of each image of a multi-platform image.
        digest: `sha256:...` of the image or index. With it nothing can change.
        tag: a tag; without a digest every fetch asks what it names, and says so.
        reproducible: False silences that warning.
        is_bzlmod: for the API's sake.
        config: a docker config.json, the only file to look for credentials in then. Else they are
            found as docker and podman find theirs.
        www_authenticate_challenges: for the API's sake; what the registry itself asks for is done.
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
