"""image_audit: `bazel run` says what is behind, unsupported or vulnerable; a test holds its statements."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")
load("//tools/image:layout_rules.bzl", "label_text")

_DOC = """\
Audits the packages of an image, offline, from its locks.

    bazel run //backend:audit
    bazel run //backend:audit -- --tracker FILE --format sarif --fail-on high

Ends with 1 if an open finding is as serious as `--fail-on`, and with 2 if there is no audit or a statement no longer
holds. `--help` lists every flag.
"""

_TEST_DOC = """\
Fails if the audit is not possible: an input is damaged, a statement's test is gone or its package left the locks.

What is found does not matter: a test must not fail because a day has passed.
"""

_ATTRS = {
    "available": attr.label(allow_single_file = [".json"], doc = "What the suites offer, as `debian_lock` writes it.", mandatory = True),
    "components": attr.label_keyed_string_dict(
        allow_files = [".json"],
        doc = "sbom_components, each with the architecture of the images that have them.",
        mandatory = True,
    ),
    "debian_groups": attr.string_list(doc = "Groups of the Debian lock; by default those of its image."),
    "debian_lock": attr.label(allow_single_file = [".json"], doc = "Lock of Debian packages.", mandatory = True),
    "end_of_life": attr.label(
        allow_single_file = [".yaml"],
        default = Label("//third_party/audit:end_of_life.yaml"),
        doc = "Until when the makers of Python and of libraries in wheels support them.",
    ),
    "python_locks": attr.label_keyed_string_dict(
        allow_files = [".txt"],
        doc = "Locks of wheels, each with its architecture.",
        mandatory = True,
    ),
    "support": attr.label_list(
        allow_files = [".deb"],
        default = [Label("@pinned_image_debian//:support")],
        doc = "Debian's packages debian-security-support and distro-info-data.",
    ),
    "tests": attr.label_list(allow_files = [".py"], doc = "The test files that statements name; `bazel run` finds them by itself."),
    "vex": attr.label_list(allow_files = [".json"], doc = "OpenVEX documents."),
    # It runs on the machine of `bazel run`, not in an action.
    "_audit": attr.label(cfg = "exec", default = Label(":audit"), executable = True),
}

def _image_audit_impl(ctx):
    def named(file):
        return {"file": runfiles_path(ctx, file), "name": file.short_path.removeprefix("../")}

    components = {}
    for target, architecture in ctx.attr.components.items():
        components.setdefault(architecture, []).extend([runfiles_path(ctx, file) for file in target[DefaultInfo].files.to_list()])
    python_locks = {}
    for target, architecture in ctx.attr.python_locks.items():
        python_locks[architecture] = named(target[DefaultInfo].files.to_list()[0])
    target = {
        "available": named(ctx.file.available),
        "components": components,
        "debian_lock": named(ctx.file.debian_lock),
        "end_of_life": named(ctx.file.end_of_life),
        "groups": ctx.attr.debian_groups,
        "name": label_text(ctx.label),
        "python_locks": python_locks,
        "support": [runfiles_path(ctx, deb) for deb in ctx.files.support],
        "vex": [named(file) for file in ctx.files.vex],
        "workspace": ctx.workspace_name,
    }
    files = [ctx.file.available, ctx.file.debian_lock, ctx.file.end_of_life]
    for more in [ctx.files.components, ctx.files.python_locks, ctx.files.support, ctx.files.tests, ctx.files.vex]:
        files = files + more
    return [launcher(ctx, tool = ctx.attr._audit, target = target, files = files, targets = [])]

_image_audit = rule(
    implementation = _image_audit_impl,
    doc = _DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    executable = True,
)

_image_audit_test = rule(
    implementation = _image_audit_impl,
    doc = _TEST_DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    test = True,
)

def image_audit(name, components, python_locks, tests = [], **kwargs):
    """Declare `<name>`, which audits an image, and `<name>_test`, which holds its OpenVEX statements.

        image_audit(
            name = "audit",
            available = "debian.available.json",
            components = {"amd64": [":sbom_components_common_amd64"]},
            debian_lock = "debian.lock.json",
            python_locks = {"amd64": "requirements.amd64.txt"},
        )

    Args:
      name: name of the program.
      components: architecture → the image's sbom_components.
      python_locks: architecture → its lock of wheels.
      tests: the test files that statements name.
      **kwargs: available, debian_groups, debian_lock, end_of_life, support, vex; visibility and the like.
    """
    attributes = kwargs | {
        "components": {label: arch for arch, labels in components.items() for label in labels},
        "python_locks": {label: arch for arch, label in python_locks.items()},
    }
    _image_audit(name = name, **attributes)
    _image_audit_test(name = name + "_test", size = "small", tests = tests, **attributes)
