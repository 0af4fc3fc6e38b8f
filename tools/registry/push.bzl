"""oci_push: an OCI layout → a program that pushes it to a registry."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")
load("//tools/oci:text_files.bzl", "common_attributes", "tags_file")

_DOC = """\
Pushes an image or an image index.

    bazel run //backend:push -- --repository HOST/NAME --tag T

Skips blobs that the registry has and moves tags last. `--help` lists every flag.
"""

_ATTRS = {
    "image": attr.label(mandatory = True, doc = "An OCI layout: oci_image, oci_image_index, ..."),
    "remote_tags": attr.label(allow_single_file = True, doc = "Tags, one a line."),
    "repository": attr.string(doc = "HOST/NAME, without tag or digest. --repository overrides it."),
    "repository_file": attr.label(
        allow_single_file = True,
        doc = "A file that holds the repository, instead of `repository`.",
    ),
    # It runs on the machine of `bazel run`, not in an action.
    "_push": attr.label(default = Label(":push"), executable = True, cfg = "exec"),
}

def check_repository(attr):
    """Fail when the repository is set twice, or has a tag or digest.

    Args:
        attr: attributes of a rule with `repository` and `repository_file`.
    """
    repository = attr.repository
    if repository and attr.repository_file:
        fail("set 'repository' or 'repository_file', not both, found '{}' and {}".format(
            repository,
            attr.repository_file.label,
        ))
    if "@" in repository or ":" in repository.split("/")[-1]:
        fail("repository attribute must not contain digest or tag, found '{}'".format(repository))

def _oci_push_impl(ctx):
    images = ctx.attr.image[DefaultInfo].files.to_list()
    if len(images) != 1 or not images[0].is_directory:
        fail("image attribute must be a oci_image or oci_image_index")
    check_repository(ctx.attr)
    target = {"layout": runfiles_path(ctx, images[0]), "repository": ctx.attr.repository}
    for name in ("remote_tags", "repository_file"):
        file = getattr(ctx.file, name)
        if file:
            target[name] = runfiles_path(ctx, file)
    return launcher(
        ctx,
        tool = ctx.attr._push,
        target = target,
        files = ctx.files.remote_tags + ctx.files.repository_file,
        targets = [ctx.attr.image],
    )

oci_push_rule = rule(
    implementation = _oci_push_impl,
    doc = _DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    executable = True,
)

def oci_push(name, remote_tags = None, **kwargs):
    """Declare a program that pushes an image.

    Args:
        name: the target.
        remote_tags: list of tags, or a file with one a line.
        **kwargs: the rule's other attributes, and those common to all rules.
    """
    oci_push_rule(
        name = name,
        remote_tags = tags_file(name, "remote_tags", remote_tags, **common_attributes(kwargs)),
        **kwargs
    )
