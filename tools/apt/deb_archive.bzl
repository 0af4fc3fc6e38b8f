"""`deb_archive`: one locked .deb, unpacked into a repository. For build-time files, never for layers."""

load(":mirrors.bzl", "MIRRORS_ATTR", "download_debs", "host_arch", "locked_packages")

def extract_deb(ctx, deb, strip_prefix = ""):
    """Unpack a package's data into the repository and remove the .deb.

    Args:
      ctx: the repository_ctx.
      deb: path of the .deb.
      strip_prefix: directory inside the package that becomes the repository's root.
    """
    members = deb + ".members"
    ctx.extract(deb, output = members)
    for entry in ctx.path(members).readdir():
        if entry.basename.startswith("data.tar"):
            ctx.extract(entry, stripPrefix = strip_prefix)
    ctx.delete(members)
    ctx.delete(deb)

def _deb_archive_impl(ctx):
    lock = json.decode(ctx.read(ctx.attr.lock))
    packages = locked_packages(lock, [ctx.attr.package], host_arch(ctx), ctx.attr.lock)
    for deb in download_debs(ctx, packages, lock, "debs/", ctx.attr.lock):
        extract_deb(ctx, deb, ctx.attr.strip_prefix)
    if ctx.attr.build_file_content:
        ctx.file("BUILD.bazel", ctx.attr.build_file_content)

deb_archive = repository_rule(
    implementation = _deb_archive_impl,
    doc = "Unpacks one locked Debian package, for instance a Bazel ruleset.",
    attrs = MIRRORS_ATTR | {
        "build_file_content": attr.string(doc = "BUILD file at the root, where the package brings none."),
        "lock": attr.label(mandatory = True, allow_single_file = True, doc = "The lock that pins the package."),
        "package": attr.string(mandatory = True, doc = "The package's name."),
        "strip_prefix": attr.string(doc = "Directory inside the package that becomes the repository's root."),
    },
)
