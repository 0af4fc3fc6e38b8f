"""The repositories behind the hubs that `pip_parse` makes of the wheel locks."""

load("@rules_python//python/pip_install:pip_repository.bzl", "whl_library")
load(":wheel_batch.bzl", "wheel_batch")
load(":wheel_file.bzl", "wheel_file")

def _repository(hub, package):
    # As rules_python forms the name, in the labels of its hub.
    return "{}_{}".format(hub, package.replace("-", "_").replace(".", "_"))

def _batch_label(arch):
    return "@wheels_{}//:BUILD.bazel".format(arch)

def declare_library_hub(hub, arch, wheels, batched):
    """Declares Python libraries for tools and tests: rules_python's `whl_library`, fed from `wheel_file`.

    Args:
      hub: the name of the `pip_parse` repository.
      arch: Debian's name of the machine's architecture.
      wheels: what `parse_wheel_lock` returned.
      batched: hashes of the wheels that `declare_wheel_hub` fetches together.
    """
    for wheel in wheels:
        name = _repository(hub, wheel["name"])
        wheel_file(
            name = name + "_wheel",
            batch = _batch_label(arch) if wheel["sha256"] in batched else "",
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
            python_interpreter_target = "@cpython//:python3",
            repo = hub,
            repo_prefix = hub + "_",
            requirement = wheel["requirement"],
        )

def declare_wheel_hub(hub, arch, wheels):
    """Declares wheels for an image: files only (`whl_requirement`, `all_whl_requirements`).

    An image's wheels are never imported by the build and may be for another machine, so they are not
    unpacked and no marker is evaluated: `wheel_layer` installs them from the files.

    Args:
      hub: the name of the `pip_parse` repository.
      arch: Debian's name of the wheels' architecture.
      wheels: what `parse_wheel_lock` returned.
    """
    wheel_batch(
        name = "wheels_" + arch,
        wheels = ["{pin} {sha256} {filename}".format(**wheel) for wheel in wheels],
    )
    for wheel in wheels:
        wheel_file(
            name = _repository(hub, wheel["name"]),
            batch = _batch_label(arch),
            filename = wheel["filename"],
            requirement = wheel["pin"],
            sha256 = wheel["sha256"],
        )
