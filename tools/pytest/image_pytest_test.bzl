"""`image_pytest_test`: pytest, run by the interpreter of an image, inside it."""

load("@rules_python//python:defs.bzl", "py_test")

_MAIN = Label(":pytest_in_image.py")

def image_pytest_test(name, image, tests, tests_dir, target, files, packages = [], trees = {}, env = {}, **kwargs):
    """Runs tests inside an image, with its packages and as its user.

    Args:
      name: name of the test.
      image: an OCI layout for this machine's architecture.
      tests: all files of the tests.
      tests_dir: their directory, relative to the workspace.
      target: where the image sees that directory.
      files: what pytest runs, relative to the parent of `target`.
      packages: Python libraries of a hub that the image lacks, such as requirement("pytest").
      trees: name to repository label; the image sees the repository at /srv/<name>.
      env: environment of the tests.
      **kwargs: further attributes of the test.
    """
    args = [
        "--image $(rootpath {})".format(image),
        "--tests " + tests_dir,
        "--target " + target,
    ]
    args += ["--package ../{}/site-packages".format(_repository(package)) for package in packages]
    args += ["--tree {}=../{}".format(tree, _repository(label)) for tree, label in trees.items()]
    args += ["--env {}={}".format(key, value) for key, value in env.items()]
    py_test(
        name = name,
        srcs = [_MAIN],
        main = _MAIN,
        args = args + ["--"] + files,
        data = [image] + tests + packages + trees.values(),
        deps = [Label(":pytest_in_image")],
        **kwargs
    )

def _repository(label):
    return Label(label).workspace_name
