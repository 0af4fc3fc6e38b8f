"""oci_load: an OCI layout → a program that loads it into docker, podman or nerdctl."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")
load("//tools/image:layout_rules.bzl", "layout_inputs", "layout_of")
load(":text_files.bzl", "common_attributes", "tags_file")

_DOC = """\
Loads an image into the container engine of this machine.

    bazel run //backend:load

Podman and Docker get only the layers they lack, other engines an archive. The output group `tarball` writes it to a file, `<name>/tarball.tar`.
"""

_ATTRS = {
    "format": attr.string(
        default = "docker",
        values = ["docker", "oci"],
        doc = "With docker, a healthcheck survives any media types; an index needs oci.",
    ),
    "image": attr.label(mandatory = True, doc = "An OCI layout."),
    "loader": attr.label(
        allow_files = True,
        executable = True,
        cfg = "target",
        doc = "A program or an executable file, called as `loader load --input PATH`; default: docker, podman or nerdctl on PATH.",
    ),
    "repo_tags": attr.label(
        allow_single_file = [".txt"],
        mandatory = True,
        doc = "Names for the image, one a line.",
    ),
    "_load": attr.label(default = Label(":load"), executable = True, cfg = "exec"),
}

def _oci_load_impl(ctx):
    layout = layout_of(ctx.attr.image, "image")
    tarball = ctx.actions.declare_file(ctx.label.name + "/tarball.tar")
    args = ctx.actions.args()
    args.add_all("--layout", [layout], expand_directories = False)
    args.add("--repo-tags", ctx.file.repo_tags)
    args.add("--format", ctx.attr.format)
    args.add("--output", tarball)
    ctx.actions.run(
        executable = ctx.executable._load,
        arguments = [args],
        inputs = depset([ctx.file.repo_tags], transitive = [layout_inputs([ctx.attr.image])]),
        outputs = [tarball],
        mnemonic = "OciTarball",
        progress_message = "Archiving image %{label}",
    )
    target = {
        "format": ctx.attr.format,
        "layout": runfiles_path(ctx, layout),
        "repo_tags": runfiles_path(ctx, ctx.file.repo_tags),
    }
    targets = [ctx.attr.image]
    if ctx.attr.loader:
        target["loader"] = runfiles_path(ctx, ctx.executable.loader)
        targets.append(ctx.attr.loader)
    return [
        launcher(
            ctx,
            tool = ctx.attr._load,
            target = target,
            files = [ctx.file.repo_tags],
            targets = targets,
        ),
        OutputGroupInfo(tarball = depset([tarball])),
    ]

oci_load_rule = rule(
    implementation = _oci_load_impl,
    doc = _DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    executable = True,
)

def oci_load(name, repo_tags, **kwargs):
    """Declare a program that loads an image.

    Args:
        name: the target.
        repo_tags: list of names, or a file with one a line.
        **kwargs: the rule's other attributes, and those common to all rules.
    """
    oci_load_rule(
        name = name,
        repo_tags = tags_file(name, "repo_tags", repo_tags, **common_attributes(kwargs)),
        **kwargs
    )
