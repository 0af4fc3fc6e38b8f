"""How oci_pull reads its arguments. Repositories are declared by a WORKSPACE, so a rule calls its helpers."""

load("//tools/registry:pull.bzl", "alias_platforms", "parse_image", "pull_request")

_DIGEST = "sha256:" + 64 * "0"

# What a user writes, and the name, tag and digest in it.
_IMAGES = {
    "debian": ("debian", None, None),
    "debian:12": ("debian", "12", None),
    "host.example:5000/a/b": ("host.example:5000/a/b", None, None),
    "host.example:5000/a/b:tag@" + _DIGEST: ("host.example:5000/a/b", "tag", _DIGEST),
    "http://localhost:5000/a@" + _DIGEST: ("http://localhost:5000/a", None, _DIGEST),
}

def _pull_arguments_test_impl(_ctx):
    problems = []
    for image, wanted in _IMAGES.items():
        parsed = parse_image(image)
        found = (parsed.name, parsed.tag, parsed.digest)
        if found != wanted:
            problems.append("{}: wanted {}, found {}".format(image, wanted, found))
    requests = [
        (pull_request(image = "a:tag", digest = _DIGEST), ("a", _DIGEST)),
        (pull_request(image = "a:tag", reproducible = False), ("a", "tag")),
        (pull_request(registry = "docker.io", repository = "library/a", tag = "b"), ("docker.io/library/a", "b")),
    ]
    problems += [
        "wanted {}, found {}".format(wanted, request)
        for request, wanted in requests
        if (request.name, request.reference) != wanted
    ]
    by_cpu = alias_platforms("base", ["linux/amd64", "linux/arm", "linux/arm64/v8", "plan9/mips"])
    if by_cpu != {
        "@platforms//cpu:arm64": "base_linux_arm64_v8",
        "@platforms//cpu:armv7": "base_linux_arm",
        "@platforms//cpu:x86_64": "base_linux_amd64",
    }:
        problems.append("found {}".format(by_cpu))
    return [AnalysisTestResultInfo(success = not problems, message = "\n".join(problems))]

pull_arguments_test = rule(
    implementation = _pull_arguments_test_impl,
    doc = "Passes when names, tags, digests and platforms are understood.",
    analysis_test = True,
)

def _pull_of_impl(ctx):
    arguments = dict(ctx.attr.arguments)
    if "platform" in arguments:
        alias_platforms(ctx.label.name, [arguments["platform"]])
    else:
        pull_request(reproducible = ctx.attr.reproducible, **arguments)

pull_of = rule(
    implementation = _pull_of_impl,
    doc = "Reads these arguments as oci_pull would.",
    attrs = {
        "arguments": attr.string_dict(),
        "reproducible": attr.bool(default = True),
    },
)
