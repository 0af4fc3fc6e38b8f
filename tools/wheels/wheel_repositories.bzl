"""The repositories behind the hubs that `pip_parse` makes of the wheel locks."""

load("@rules_python//python/pip_install:pip_repository.bzl", "whl_library")
load("//tools/apt:mirrors.bzl", "CPUS")
load(":wheel_batch.bzl", "wheel_batch")
load(":wheel_file.bzl", "wheel_file")

def _repository(hub, package):
    # As rules_python forms the name, in the labels of its hub.
    return "{}_{}".format(hub, package.replace("-", "_").replace(".", "_"))

def _batch_label(hub):
    return "@{}_batch//:BUILD.bazel".format(hub)

def declare_library_hub(hub, wheels, batched, batch_hub):
    """Declare Python libraries for tools and tests: rules_python's `whl_library`, fed from `wheel_file`.

    Args:
      hub: the name of the `pip_parse` repository.
      wheels: what `parse_wheel_lock` returned.
      batched: hashes of the wheels that `declare_wheel_hub` fetches together.
      batch_hub: the hub that it fetches them for.
    """
    for wheel in wheels:
        name = _repository(hub, wheel["name"])
        wheel_file(
            name = name + "_wheel",
            batch = _batch_label(batch_hub) if wheel["sha256"] in batched else "",
            filename = wheel["filename"],
            requirement = wheel["pin"],
            sha256 = wheel["sha256"],
        )
        whl_library(
            name = name,
            # The annotation's label is what makes the wheel be there before pip is started.
            annotation = "@{}_wheel//:annotation.json".format(name),
            download_only = True,
            enable_implicit_namespace_pkgs = True,
            # This machine's constraints and indexes have no say: the one wheel is in the next directory.
            environment = {"PIP_CONFIG_FILE": "/dev/null"},
            extra_pip_args = ["--no-index", "--no-cache-dir", "--find-links=../{}_wheel".format(name)],
            python_interpreter_target = Label("@pinned_image_cpython//:python3"),
            repo = hub,
            repo_prefix = hub + "_",
            requirement = wheel["requirement"],
        )

def declare_wheel_hub(hub, wheels):
    """Declare wheels for an image: files only (`whl_requirement`, `all_whl_requirements`).

    An image's wheels are never imported by the build and may be for another machine, so they are not
    unpacked and no marker is evaluated: `wheel_layer` installs them from the files.

    Args:
      hub: the name of the `pip_parse` repository.
      wheels: what `parse_wheel_lock` returned.
    """
    wheel_batch(
        name = hub + "_batch",
        wheels = ["{pin} {sha256} {filename}".format(**wheel) for wheel in wheels],
    )
    for wheel in wheels:
        wheel_file(
            name = _repository(hub, wheel["name"]),
            batch = _batch_label(hub),
            filename = wheel["filename"],
            requirement = wheel["pin"],
            sha256 = wheel["sha256"],
        )

_ALIAS_BZL = """\
all_whl_requirements = {all}

def whl_requirement(name):
    return "@{hub}//{{}}:whl".format(name.lower().replace("-", "_").replace(".", "_"))
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
        all = repr(["@{}//{}:whl".format(ctx.attr.hub, package) for package in sorted(packages)]),
        hub = ctx.attr.hub,
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
