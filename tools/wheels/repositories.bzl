"""The hubs of the wheel locks, for a WORKSPACE to declare once rules_python can be loaded."""

load("@rules_python//python:pip.bzl", "pip_parse")
load(":pip_tools.bzl", "pip_tools")

def python_hubs(locks, hubs):
    """Declare what rules_python makes of the locks; needs `@pinned_image_cpython`.

    Args:
      locks: name of the `wheel_locks` repository.
      hubs: names of the hubs, each a lock that `wheel_locks` has read.
    """
    pip_tools()
    for hub in hubs:
        pip_parse(
            name = hub,
            incompatible_generate_aliases = True,
            python_interpreter_target = Label("@pinned_image_cpython//:python3"),
            requirements_lock = "@{}//:{}.txt".format(locks, hub),
        )
