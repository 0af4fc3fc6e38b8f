"""The repositories @rules_oci and @container_structure_test, by which BUILD files written for upstream load our rules.

Nothing is defined in them. Override either (--override_repository=rules_oci=PATH) to build the same targets with
upstream's rules; tools/oci/README.md says what those need.
"""

_OCI = """\
load(
    "@pinned_image//tools/oci:defs.bzl",
    _oci_image = "oci_image",
    _oci_image_index = "oci_image_index",
    _oci_image_index_rule = "oci_image_index_rule",
    _oci_image_rule = "oci_image_rule",
    _oci_load = "oci_load",
    _oci_load_rule = "oci_load_rule",
)
load("@pinned_image//tools/registry:defs.bzl", _oci_push = "oci_push", _oci_push_rule = "oci_push_rule")

oci_image = _oci_image
oci_image_index = _oci_image_index
oci_image_index_rule = _oci_image_index_rule
oci_image_rule = _oci_image_rule
oci_load = _oci_load
oci_load_rule = _oci_load_rule

# The name oci_load had in rules_oci 1.x; upstream keeps it.
oci_tarball_rule = _oci_load_rule
oci_push = _oci_push
oci_push_rule = _oci_push_rule
"""

_OCI_PULL = """\
load("@pinned_image//tools/registry:pull.bzl", _oci_pull = "oci_pull")

oci_pull = _oci_pull
"""

# What a WORKSPACE written for upstream calls first: our rules bring what they need.
_OCI_DEPENDENCIES = """\
def rules_oci_dependencies():
    pass
"""

_OCI_REPOSITORIES = """\
def oci_register_toolchains(name, register = True, **kwargs):
    pass
"""

_STRUCTURE_TEST = """\
load("@pinned_image//tools/structure_test:defs.bzl", _container_structure_test = "container_structure_test")

container_structure_test = _container_structure_test
"""

_STRUCTURE_TEST_REPOSITORIES = """\
def container_structure_test_register_toolchain(name, register = True, **kwargs):
    pass
"""

def _facade_impl(ctx):
    packages = {}
    for path, content in ctx.attr.files.items():
        ctx.file(path, content)
        packages[path.rpartition("/")[0]] = True
    for package in packages:
        ctx.file("{}/BUILD.bazel".format(package or "."), "exports_files(glob([\"*.bzl\"]))\n")

facade = repository_rule(
    implementation = _facade_impl,
    doc = "A repository of .bzl files that load from elsewhere.",
    attrs = {"files": attr.string_dict(mandatory = True, doc = "Path to content.")},
)

def facades():
    """Declare @rules_oci and @container_structure_test, unless the WORKSPACE has declared its own."""
    for name, files in {
        "container_structure_test": {
            "defs.bzl": _STRUCTURE_TEST,
            "repositories.bzl": _STRUCTURE_TEST_REPOSITORIES,
        },
        "rules_oci": {
            "oci/defs.bzl": _OCI,
            "oci/dependencies.bzl": _OCI_DEPENDENCIES,
            "oci/pull.bzl": _OCI_PULL,
            "oci/repositories.bzl": _OCI_REPOSITORIES,
        },
    }.items():
        if not native.existing_rule(name):
            facade(name = name, files = files)
