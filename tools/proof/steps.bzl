"""`build_steps`: the commands that made an image, read from Bazel itself, with the files they start from."""

BuildStepsInfo = provider(
    doc = "How a target's output is made.",
    fields = {
        "files": "depset of File: what the steps start from",
        "outputs": "depset of File: what the steps make",
        "steps": "depset of JSON strings, one for each command, in the order they must run",
    },
)

# Attributes that lead from an image to the layers it is made of.
_EDGES = ["actual", "base", "image", "images", "lock", "tars"]

# Files that a rule writes itself need no program, so they cannot differ between two runs of one.
_WRITES = ["FileWrite", "Symlink", "TemplateExpand", "SymlinkTree", "SourceSymlinkManifest", "Middleman", "RepoMappingManifest"]

def _build_steps_aspect_impl(target, ctx):
    below = []
    for edge in _EDGES:
        value = getattr(ctx.rule.attr, edge, None)
        for dependency in value if type(value) == "list" else [value]:
            if type(dependency) == "Target" and BuildStepsInfo in dependency:
                below.append(dependency[BuildStepsInfo])
    steps = []
    files = []
    outputs = []

    # A command names its inputs, or a list that it reads does; then they are files of the rule's attributes. What
    # remains of an action's inputs is its program's own.
    listed = {
        file.path: True
        for name in dir(ctx.rule.files)
        if not name.startswith("_") and type(getattr(ctx.rule.files, name)) == "list"
        for file in getattr(ctx.rule.files, name)
    }
    for action in target.actions:
        if action.mnemonic in _WRITES or not action.argv:
            continue
        words = {}
        for word in action.argv[1:]:
            # A path stands alone, in --flag=PATH or in PATH=name.
            for part in (word,) + word.partition("="):
                words[part] = True
        files.extend([file for file in action.inputs.to_list() if file.path in words or file.path in listed])
        made = action.outputs.to_list()
        outputs.extend(made)
        steps.append(json.encode({
            "argv": action.argv,
            "mnemonic": action.mnemonic,
            "outputs": [
                {"directory": file.is_directory, "path": file.path, "short_path": file.short_path}
                for file in made
            ],
        }))
    return [BuildStepsInfo(
        files = depset(files, transitive = [info.files for info in below]),
        outputs = depset(outputs, transitive = [info.outputs for info in below]),
        steps = depset(steps, transitive = [info.steps for info in below], order = "postorder"),
    )]

build_steps_aspect = aspect(
    implementation = _build_steps_aspect_impl,
    attr_aspects = _EDGES,
    doc = "Collects the commands of a target and of what it is made of.",
)

def _build_steps_impl(ctx):
    info = ctx.attr.target[BuildStepsInfo]
    steps = [json.decode(step) for step in info.steps.to_list()]
    files = info.files.to_list()
    out = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(out, json.encode_indent({
        "files": {file.path: file.short_path for file in files},
        "steps": steps,
    }, indent = "  "))
    return [DefaultInfo(
        files = depset([out]),
        runfiles = ctx.runfiles(files = files + info.outputs.to_list() + [out]).merge(ctx.attr.target[DefaultInfo].default_runfiles),
    )]

build_steps = rule(
    implementation = _build_steps_impl,
    doc = "Writes the commands that make `target` as JSON; its runfiles hold every file they start from.",
    attrs = {"target": attr.label(mandatory = True, aspects = [build_steps_aspect], doc = "An image or a layer.")},
)
