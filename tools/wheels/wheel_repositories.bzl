"""The repositories behind the hubs that `pip_parse` makes of the wheel locks."""

load("//tools/apt:mirrors.bzl", "CPUS")
load(":names.bzl", "canonical")
load(":wheel_batch.bzl", "missing_wheels", "wheel_batch")
load(":wheel_file.bzl", "wheel_file")
load(":wheel_library.bzl", "wheel_library")
load(":wheel_program.bzl", "wheel_program")

def _repository(hub, package):
    # As rules_python forms the name, in the labels of its hub.
    return "{}_{}".format(hub, package.replace("-", "_").replace(".", "_"))

def _batch_label(hub):
    return "@@{}//:BUILD.bazel".format(canonical(hub + "_batch"))

def declare_batch(hub, wheels):
    """Declare what fetches wheels together, as soon as one of them is needed.

    Args:
      hub: name of the hub that they are of.
      wheels: what `parse_wheel_lock` returned.
    """
    missing_wheels(
        name = hub + "_missing",
        wheels = ["{pin} {sha256} {filename}".format(**wheel) for wheel in wheels],
    )
    wheel_batch(
        name = hub + "_batch",
        missing = "@@{}//:missing.json".format(canonical(hub + "_missing")),
    )

def declare_library_hub(hub, wheels, batched):
    """Declare Python libraries for tools and tests: a `wheel_library` for each `wheel_file`.

    Args:
      hub: the name of the `pip_parse` repository.
      wheels: what `parse_wheel_lock` returned.
      batched: hashes of the wheels that `declare_wheel_hub` fetches together → the hub it fetches them for.
    """
    for wheel in wheels:
        name = _repository(hub, wheel["name"])
        wheel_file(
            name = name + "_wheel",
            batch = _batch_label(batched[wheel["sha256"]]) if wheel["sha256"] in batched else "",
            filename = wheel["filename"],
            requirement = wheel["pin"],
            sha256 = wheel["sha256"],
        )
        wheel_library(
            name = name,
            repo_prefix = hub + "_",
            requirement = wheel["requirement"],
            wheel = "@@{}//:BUILD.bazel".format(canonical(name + "_wheel")),
        )

def declare_program(hub, wheels):
    """Declare the wheels of a program of its own as one library, `@<hub>//:libraries`.

    Args:
      hub: name of the repository.
      wheels: what `parse_wheel_lock` returned.
    """
    declare_batch(hub, wheels)
    for wheel in wheels:
        wheel_file(
            name = _repository(hub, wheel["name"]) + "_wheel",
            batch = _batch_label(hub),
            filename = wheel["filename"],
            requirement = wheel["pin"],
            sha256 = wheel["sha256"],
        )
    wheel_program(
        name = hub,
        requirements = [wheel["requirement"] for wheel in wheels],
        wheels = ["@@{}//:BUILD.bazel".format(canonical(_repository(hub, wheel["name"]) + "_wheel")) for wheel in wheels],
    )

def declare_wheel_hub(hub, wheels):
    """Declare wheels for an image: files only (`whl_requirement`, `all_whl_requirements`).

    An image's wheels are never imported by the build and may be for another machine, so they are not
    unpacked and no marker is evaluated: `wheel_layer` installs them from the files.

    Args:
      hub: the name of the `pip_parse` repository.
      wheels: what `parse_wheel_lock` returned.
    """
    declare_batch(hub, wheels)
    for wheel in wheels:
        wheel_file(
            name = _repository(hub, wheel["name"]),
            batch = _batch_label(hub),
            filename = wheel["filename"],
            requirement = wheel["pin"],
            sha256 = wheel["sha256"],
        )

_ALIAS_BZL = """\
all_whl_requirements = [str(Label("//{{}}:whl".format(package))) for package in {packages}]

def whl_requirement(name):
    return str(Label("//{{}}:whl".format(name.lower().replace("-", "_").replace(".", "_"))))
"""

def _wheel_hub_alias_impl(ctx):
    packages = {}
    for arch, names in ctx.attr.packages.items():
        for name in names:
            packages.setdefault(name.replace("-", "_").replace(".", "_"), []).append(arch)
    for package, archs in packages.items():
        branches = ["        \"{}\": \"@{}_{}//{}:whl\",\n".format(CPUS[arch], ctx.attr.hub, arch, package) for arch in archs]
        if len(archs) < len(ctx.attr.packages):
            branches.append("        \"//conditions:default\": \"//:none\",\n")
        ctx.file(package + "/BUILD.bazel", """\
alias(
    name = "whl",
    actual = select({{
{}    }}),
    visibility = ["//visibility:public"],
)
""".format("".join(branches)))
    ctx.file("BUILD.bazel", "filegroup(name = \"none\", visibility = [\"//visibility:public\"])\n")
    ctx.file("requirements.bzl", _ALIAS_BZL.format(
        packages = repr(sorted(packages)),
    ))

_wheel_hub_alias = repository_rule(
    implementation = _wheel_hub_alias_impl,
    doc = "The hub of an image's wheels: each package's wheel for the platform that is built for.",
    attrs = {
        "hub": attr.string(mandatory = True, doc = "Name of this repository."),
        "packages": attr.string_list_dict(mandatory = True, doc = "Architecture to packages; `<hub>_<arch>` has their wheels."),
    },
)

def wheel_hub_alias(hub, packages):
    """Declare the hub that chooses by platform; its `requirements.bzl` is like rules_python's.

    Args:
      hub: name of the hub.
      packages: architecture to package names.
    """
    _wheel_hub_alias(name = hub, hub = hub, packages = packages)

def _wheel_files_impl(ctx):
    ctx.file("BUILD.bazel", """\
filegroup(
    name = "all",
    srcs = {},
    visibility = ["//visibility:public"],
)
""".format(ctx.attr.labels))

_wheel_files = repository_rule(
    implementation = _wheel_files_impl,
    doc = "All wheels of a lock, as `:all`.",
    attrs = {"labels": attr.string_list(mandatory = True, doc = "Labels of the files.")},
)

def wheel_files(hub, wheels):
    """Declare `<hub>_files`, whose `:all` is every wheel of the hub as a file.

    Args:
      hub: name of the hub.
      wheels: what `parse_wheel_lock` returned.
    """
    _wheel_files(
        name = hub + "_files",
        labels = ["@{}_wheel//:whl".format(_repository(hub, wheel["name"])) for wheel in wheels],
    )
