"""What the locks pin, declared as repositories; the same from a WORKSPACE and from a module extension."""

load("@rules_python//python:pip.bzl", "pip_parse")
load("@rules_python//python/pip_install:pip_repository.bzl", "pip_repository_bzlmod")
load("//tools/apt:deb_packages.bzl", "declare_deb_files", "decode_lock")
load("//tools/wheels:names.bzl", "canonical")
load("//tools/wheels:parse_wheel_lock.bzl", "parse_wheel_lock")
load("//tools/wheels:pip_tools.bzl", "pip_tools")
load("//tools/wheels:wheel_repositories.bzl", "declare_batch", "declare_library_hub", "declare_wheel_hub", "wheel_files", "wheel_hub_alias")
load(":tool_repositories.bzl", "PYTHON_HUB")

def _pip_hub(name, lock):
    """Declare rules_python's hub of a lock."""
    if canonical(""):
        # With canonical labels: a requirement() is a string, which means something else in each module.
        pip_repository_bzlmod(
            name = name,
            incompatible_generate_aliases = True,
            repo_name = name,
            requirements_lock = lock,
        )
    else:
        pip_parse(
            name = name,
            incompatible_generate_aliases = True,
            python_interpreter_target = Label("@pinned_image_cpython//:python3"),
            requirements_lock = lock,
        )

def declare_libraries(hub, lock, batched = {}, together = False):
    """Declare the wheels of a lock as libraries and programs for tools and tests.

    Args:
      hub: name of the hub.
      lock: label and text of the lock.
      batched: hashes of wheels that `declare_wheel_hub` fetches together → the hub it fetches them for.
      together: whether all wheels are fetched with the first, as for a program that needs them all.
    """
    wheels = parse_wheel_lock(lock["text"], lock["label"])
    if together:
        declare_batch(hub, wheels)
        batched = {wheel["sha256"]: hub for wheel in wheels}
    declare_library_hub(hub, wheels, batched)
    wheel_files(hub, wheels)
    _pip_hub(hub, lock["label"])

def declare_repositories(arch, debian, python, tools):
    """Declare a repository for each package and each wheel; each is fetched when a target needs it.

    Args:
      arch: Debian's name of the architecture of the machine that builds.
      debian: hub → label and text of a lock of Debian packages.
      python: hub → architecture → label and text of a lock of an image's wheels.
      tools: label and text of the lock of the tools' own libraries.
    """
    for hub, lock in debian.items():
        declare_deb_files(hub, decode_lock(lock["text"]), lock["label"], canonical(hub))
    pip_tools()
    batched = {}
    for hub, locks in python.items():
        packages = {}
        for architecture, lock in locks.items():
            wheels = parse_wheel_lock(lock["text"], lock["label"])
            name = "{}_{}".format(hub, architecture)
            declare_wheel_hub(name, wheels)
            _pip_hub(name, lock["label"])
            packages[architecture] = [wheel["name"] for wheel in wheels]
            if architecture == arch:
                batched.update({wheel["sha256"]: name for wheel in wheels})
        wheel_hub_alias(hub, packages)
    declare_libraries(PYTHON_HUB, tools, batched)
