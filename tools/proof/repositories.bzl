"""`declared_repositories`: what a WORKSPACE declares, written down so that a test can read it."""

# The attributes that say where something comes from.
_ORIGIN = [
    "archive",
    "commit",
    "filename",
    "groups",
    "lock",
    "package",
    "path",
    "remote",
    "requirement",
    "sha256",
    "snapshot",
    "url",
    "urls",
    "version",
]

def _declared_impl(ctx):
    ctx.file("repositories.json", ctx.attr.content)
    ctx.file("BUILD.bazel", 'exports_files(["repositories.json"], visibility = ["//visibility:public"])\n')

_declared = repository_rule(
    implementation = _declared_impl,
    attrs = {"content": attr.string(mandatory = True, doc = "JSON.")},
)

def _plain(value):
    if type(value) in ["list", "tuple"]:
        return [str(item) for item in value]
    return str(value)

def declared_repositories(name):
    """Make a repository whose repositories.json lists each repository declared so far and its origin.

    Args:
      name: name of the repository. Call this at the end of the WORKSPACE file.
    """
    _declared(
        name = name,
        content = json.encode_indent([
            {"kind": rule["kind"], "name": repository} | {
                key: _plain(rule[key])
                for key in _ORIGIN
                if key in rule
            }
            for repository, rule in native.existing_rules().items()
        ], indent = "  "),
    )
