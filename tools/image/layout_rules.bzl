"""Helpers of the rules that take or make an OCI layout."""

def layout_of(target, attribute):
    """Return the one directory that is the layout of `target`.

    The contract is upstream's: DefaultInfo with exactly one directory and no provider, so that
    layouts of other rulesets and of filegroups are accepted.

    Args:
        target: the dependency.
        attribute: name of the attribute, for the message.

    Returns:
        The File of the directory.
    """
    files = target[DefaultInfo].files.to_list()
    if len(files) != 1:
        fail("{}: {} must be one OCI layout directory, found {} files".format(
            attribute,
            target.label,
            len(files),
        ))
    return files[0]

def layouts_of(target, attribute):
    """Return the layout directories of `target`: one, or one for each platform it is built for.

    Args:
        target: the dependency.
        attribute: name of the attribute, for the message.

    Returns:
        A list of Files.
    """
    files = target[DefaultInfo].files.to_list()
    if not files:
        fail("{}: {} must have OCI layout directories, found no files".format(attribute, target.label))
    return files

def layout_inputs(targets):
    """Return layouts and the files behind their links, for the inputs of an action."""
    return depset(transitive = [_files_and_runfiles(target) for target in targets])

def _files_and_runfiles(target):
    info = target[DefaultInfo]

    # A source directory has no runfiles.
    runfiles = [info.default_runfiles.files] if info.default_runfiles else []
    return depset(transitive = [info.files] + runfiles)

def layout_providers(ctx, layout, digest, files = [], targets = []):
    """Return the providers of a rule that made a layout.

    Args:
        ctx: the rule's context.
        layout: the directory.
        digest: the file with its digest.
        files: layers that the directory links to.
        targets: layouts with blobs that the directory links to.

    Returns:
        A list of providers.
    """
    runfiles = ctx.runfiles(
        files = [layout] + files,
        transitive_files = layout_inputs(targets),
    )
    return [
        DefaultInfo(files = depset([layout]), runfiles = runfiles),
        OutputGroupInfo(digest = depset([digest])),
    ]

def digest_file(ctx):
    """Declare the file behind `<name>.digest`, with upstream's name."""
    return ctx.outputs.digest_out or ctx.actions.declare_file(ctx.label.name + ".json.sha256")

def label_text(label):
    """Return a label as a person would type it, the same with and without bzlmod.

    Args:
        label: a Label.

    Returns:
        A string without the prefixes that bzlmod puts before a repository's name.
    """
    text = str(label)
    text = text[text.index("//"):]
    parts = label.workspace_name.replace("+", "~").split("~")

    # A module is `module~version`, an extension's repository `module~version~extension~repository`.
    repository = parts[-1] if len(parts) > 2 else parts[0]
    return "@" + repository + text if repository else text

def digest_target(name, **common):
    """Declare `<name>.digest`, whose file is `<name>.json.sha256`."""
    native.filegroup(
        name = name + ".digest",
        srcs = [":" + name],
        output_group = "digest",
        **common
    )

DIGEST_ATTR = {
    "digest_out": attr.output(doc = "File for the digest; set by the macro."),
}
