"""Two proofs about where an image was built: that it does not matter, and that it does not show.

`reproducibility_test` builds an image a second time, elsewhere and otherwise; `no_traces_test` looks
for paths, names and times of the build machine in its layers.
"""

load("//tools:python_tool.bzl", "python_tool_test")
load(":steps.bzl", "build_steps")

def reproducibility_test(name, target, deps, **kwargs):
    """Run every command that made `target` once more and compare all bytes.

    Bazel's own build is the first of the two builds. The second runs in another directory, with another
    umask, time zone, locale, hash seed and user name, and on one processor.

    Args:
      name: name of the test.
      target: an image or a layer.
      deps: each tool that takes part, as a Python library.
      **kwargs: further attributes of the test.
    """
    build_steps(
        name = name + "_steps",
        target = target,
        testonly = True,
    )
    python_tool_test(
        name = name,
        srcs = [Label(":rebuild.py")],
        main = Label(":rebuild.py"),
        args = ["--steps", "$(rootpath :{}_steps)".format(name)],
        data = [":{}_steps".format(name)],
        deps = deps + [Label(":rebuild")],
        **kwargs
    )

def no_traces_test(name, image, **kwargs):
    """Look for traces of the build machine in every file of every layer.

    Args:
      name: name of the test.
      image: an OCI layout.
      **kwargs: further attributes of the test.
    """
    python_tool_test(
        name = name,
        srcs = [Label(":traces.py")],
        main = Label(":traces.py"),
        args = ["--image", "$(rootpath {})".format(image)],
        data = [image],
        deps = [Label(":traces")],
        **kwargs
    )
