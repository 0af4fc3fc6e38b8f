"""`conformance_test`: an image, held to programs of others. The programs are declared in this repository alone."""

load("//tools/proof:steps.bzl", "build_steps")
load("//tools/pytest:defs.bzl", "pytest_test")

_COSIGN = Label("@conformance//:usr/bin/cosign")
_PROGRAMS = [Label("@conformance//:files"), _COSIGN]

def conformance_test(name, test = None, data = [], env = {}, **kwargs):
    """Declare one of the tests of tools/conformance for an image.

    For amd64 alone: the programs of the Python index have wheels for nothing else.

    Args:
      name: name of the test.
      test: name of the test's file, without `.py`; without it, the name.
      data: what the test reads.
      env: its variables; each test's docstring says which.
      **kwargs: further attributes of the test.
    """
    test = test or name
    pytest_test(
        name = name,
        size = "large",
        srcs = [Label(":{}.py".format(test))],
        data = data + _PROGRAMS,
        env = env | {"CONFORMANCE_COSIGN": "$(rootpath {})".format(_COSIGN)},
        target_compatible_with = ["@platforms//cpu:x86_64"],
        deps = [Label(":{}_libraries".format(test))],
        **kwargs
    )

def image_steps(name, image):
    """List the commands that made an image, for diffoscope_test.

    Args:
      name: name of the target.
      image: the image.
    """
    build_steps(
        name = name,
        testonly = True,
        target = image,
    )
