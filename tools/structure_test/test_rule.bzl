"""Shared code of the test rules: their image, their runner, and the target that joins them."""

load("//tools/container:defs.bzl", "EMULATED")
load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")

# A computed default, so that only tests that run another architecture's commands fetch its emulator.
def _emulator(driver, platform):
    if driver:
        return None
    architecture = platform.split("/")[1] if "/" in platform else ""
    if architecture in EMULATED:
        return Label("//tools/container:emulator_" + architecture)
    return None

TEST_ATTRS = LAUNCHER_ATTRS | {
    # Runs the commands of an image for another architecture than the machine's.
    "_emulator": attr.label(default = _emulator, allow_files = True),
    "_tool": attr.label(
        default = Label(":structure_test"),
        executable = True,
        # Tests run where the image runs, so the runner is built for the target platform.
        cfg = "target",
    ),
}

# Output groups in which upstream's rule looks for the image before its default outputs.
_GROUPS = ["oci_layout", "oci_tarball"]
_ARCHIVES = ("tar", "tgz", "gz")

# Variables with the engine's address and configuration.
_ENGINE_ENVIRONMENT = [
    "CONTAINERS_CONF",
    "CONTAINERS_STORAGE_CONF",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "HOME",
    "XDG_RUNTIME_DIR",
]

def image_file(ctx):
    """Return the layout directory or archive of `ctx.attr.image`; fail for anything else.

    Args:
        ctx: the rule's context.

    Returns:
        A File.
    """
    image = ctx.attr.image
    files = image[DefaultInfo].files.to_list()
    if OutputGroupInfo in image:
        for group in _GROUPS:
            if hasattr(image[OutputGroupInfo], group):
                files = getattr(image[OutputGroupInfo], group).to_list()
                break
    if len(files) != 1 or not (files[0].is_directory or files[0].extension in _ARCHIVES):
        fail("{}: 'image' {} must be one OCI layout directory, as oci_image makes it, or one archive of an image (.tar, .tgz, .tar.gz); found: {}".format(
            ctx.label,
            image.label,
            ", ".join([file.short_path for file in files]) or "nothing",
        ))
    return files[0]

def structure_test(ctx, configs = [], image_configs = [], driver = "", platform = ""):
    """Return the providers of a test that runs these configurations against `ctx.attr.image`.

    Args:
        ctx: the rule's context, with TEST_ATTRS and `image`.
        configs: files in the schema of container_structure_test.
        image_configs: files in the schema of image_test.
        driver: "" for containers of our own, "docker", or "tar" for static checks only.
        platform: which image of an index; "" for the only image.

    Returns:
        A list of providers.
    """
    image = image_file(ctx)
    emulator = ctx.files._emulator
    target = {
        "configs": [runfiles_path(ctx, file) for file in configs],
        "driver": driver or "namespace",
        "emulator": [runfiles_path(ctx, file) for file in emulator],
        "image": runfiles_path(ctx, image),
        "image_configs": [runfiles_path(ctx, file) for file in image_configs],
        "platform": platform,
    }
    files = [image] + configs + image_configs + emulator

    # A file of the source tree has no runfiles.
    targets = [ctx.attr.image] if ctx.attr.image[DefaultInfo].default_runfiles else []
    providers = [launcher(ctx, ctx.attr._tool, target, files, targets)]
    if driver == "docker":
        # An engine, its socket and its storage are outside of every sandbox.
        providers.append(testing.ExecutionInfo({"local": "1"}))
        providers.append(RunEnvironmentInfo(inherited_environment = _ENGINE_ENVIRONMENT))
    return providers
