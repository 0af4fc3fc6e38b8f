"""`image_pytest_test`: pytest, run inside an image by the image's own interpreter."""

load("//tools:python_tool.bzl", "python_tool_test")
load(":site_packages.bzl", "site_packages")

_MAIN = Label(":pytest_in_image.py")

def image_pytest_test(name, image, tests, tests_dir, target, files, deps, trees = {}, env = {}, disk_bytes = 0, **kwargs):
    """Run tests inside an image, with its packages and as its user.

    Args:
      name: name of the test.
      image: an OCI layout for this machine's architecture.
      tests: all files of the tests.
      tests_dir: their directory, relative to the workspace.
      target: where the image sees that directory.
      files: what pytest runs, relative to the parent of `target`.
      deps: libraries of wheels that the tests import and the image lacks, such as requirement("pytest").
        What they need comes along; a module that the image has is always the image's own.
      trees: name to repository label; the image sees the repository at /srv/<name>.
      env: environment of the tests.
      disk_bytes: size of an empty disk at /srv/disk, which is full after so many bytes; 0 for none.
      **kwargs: further attributes of the test.
    """
    wheels = name + "_wheels"
    site_packages(
        name = wheels,
        testonly = True,
        tags = ["manual"],  # A part of the test, which builds it.
        visibility = ["//visibility:private"],
        deps = deps,
    )
    args = [
        "--image $(rootpath {})".format(image),
        "--tests " + tests_dir,
        "--target " + target,
        "--wheels $(rootpath :{})".format(wheels),
    ]
    args += ["--tree {}=../{}".format(tree, _repository(label)) for tree, label in trees.items()]
    args += ["--disk-bytes={}".format(disk_bytes)] if disk_bytes else []
    args += ["--env {}={}".format(key, value) for key, value in env.items()]
    python_tool_test(
        name = name,
        srcs = [_MAIN],
        main = _MAIN,
        args = args + ["--"] + files,
        data = [image, ":" + wheels] + tests + trees.values(),
        deps = [Label(":pytest_in_image")],
        **kwargs
    )

def _repository(label):
    # As the caller's repository resolves the name, which need not be how ours does.
    return native.package_relative_label(label).workspace_name
