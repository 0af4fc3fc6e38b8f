"""Executable targets: a tool, started with the attributes of one target."""

load(":layout_rules.bzl", "label_text")

LAUNCHER_ATTRS = {
    "_launcher": attr.label(default = Label(":launcher.sh.tpl"), allow_single_file = True),
}

def runfiles_path(ctx, file):
    """Return the path of `file` below a runfiles tree."""
    if file.short_path.startswith("../"):
        return file.short_path[3:]
    return "{}/{}".format(ctx.workspace_name, file.short_path)

def launcher(ctx, tool, target, files, targets):
    """Return the DefaultInfo of a target that runs `tool` with `--runfiles DIR --target FILE`.

    Args:
        ctx: the rule's context, whose attributes include LAUNCHER_ATTRS.
        tool: the tool's attribute.
        target: dictionary for FILE, with paths below DIR.
        files: the files that `target` names.
        targets: dependencies whose files and runfiles it needs.

    Returns:
        A DefaultInfo.
    """
    target_file = ctx.actions.declare_file(ctx.label.name + ".target.json")
    ctx.actions.write(target_file, json.encode_indent(target) + "\n")
    executable = ctx.actions.declare_file(ctx.label.name + ".sh")
    ctx.actions.expand_template(
        template = ctx.file._launcher,
        output = executable,
        is_executable = True,
        substitutions = {
            "{label}": label_text(ctx.label),
            "{target}": runfiles_path(ctx, target_file),
            "{tool}": runfiles_path(ctx, tool[DefaultInfo].files_to_run.executable),
        },
    )
    runfiles = ctx.runfiles(files = [target_file] + files)
    runfiles = runfiles.merge(tool[DefaultInfo].default_runfiles)
    for each in targets:
        runfiles = runfiles.merge(ctx.runfiles(transitive_files = each[DefaultInfo].files))
        runfiles = runfiles.merge(each[DefaultInfo].default_runfiles)
    return DefaultInfo(
        executable = executable,
        # Exactly one file, for attributes that take a single file.
        files = depset([executable]),
        runfiles = runfiles,
    )
