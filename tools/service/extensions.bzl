"""For a MODULE.bazel: your locks become hubs.

    service = use_extension("@pinned_image//tools/service:extensions.bzl", "service")
    service.debian(name = "debian", lock = "//:debian.lock.json")
    service.python(name = "pypi", amd64 = "//:requirements.amd64.txt", arm64 = "//:requirements.arm64.txt")
    use_repo(service, "debian", "pypi")
"""

load(":declare.bzl", "declare_repositories")
load(":platforms.bzl", "ARCHITECTURES")
load(":tool_repositories.bzl", "read_locks", "tool_repositories")

def _service_impl(ctx):
    debian = {}
    python = {}
    for module in ctx.modules:
        for tag in module.tags.debian + module.tags.python:
            if tag.name in debian or tag.name in python:
                fail("module {}: another hub is called {} already; give this one another name".format(module.name, repr(tag.name)))
            if hasattr(tag, "lock"):
                debian[tag.name] = tag.lock
            else:
                python[tag.name] = {arch: getattr(tag, arch) for arch in ARCHITECTURES if getattr(tag, arch)}
                if not python[tag.name]:
                    fail("module {}: python hub {} names no lock; give it one of {}".format(module.name, repr(tag.name), ", ".join(ARCHITECTURES)))
    tool_repositories(debian)
    declare_repositories(**read_locks(ctx, debian, python))

service = module_extension(
    implementation = _service_impl,
    doc = "Makes a hub of each lock that a module names.",
    arch_dependent = True,
    os_dependent = True,
    tag_classes = {
        "debian": tag_class(
            attrs = {
                "lock": attr.label(mandatory = True, doc = "Lock of Debian packages."),
                "name": attr.string(mandatory = True, doc = "The hub's name."),
            },
            doc = "Debian packages: `@<name>//:<group>`.",
        ),
        "python": tag_class(
            attrs = {
                "amd64": attr.label(doc = "Lock of the image's wheels for amd64."),
                "arm64": attr.label(doc = "Lock of the image's wheels for arm64."),
                "name": attr.string(mandatory = True, doc = "The hub's name."),
            },
            doc = "Wheels: `@<name>//<package>:whl`.",
        ),
    },
)
