"""`image_pytest_test`: pytest, run by the interpreter of an image, inside it."""

load("@rules_python//python:defs.bzl", "PyInfo", "py_test")

_MAIN = Label(":pytest_in_image.py")

def _python_path_impl(ctx):
    info = [dep[PyInfo] for dep in ctx.attr.deps]
    imports = depset(transitive = [each.imports for each in info])
    out = ctx.actions.declare_file(ctx.label.name + ".txt")
    ctx.actions.write(out, "".join([directory + "\n" for directory in imports.to_list()]))
    return [DefaultInfo(
        files = depset([out]),
        runfiles = ctx.runfiles([out], transitive_files = depset(transitive = [each.transitive_sources for each in info])).merge_all(
            [dep[DefaultInfo].default_runfiles for dep in ctx.attr.deps],
        ),
    )]

_python_path = rule(
    implementation = _python_path_impl,
    doc = "Writes the import directories of libraries, one a line, relative to a runfiles tree; its runfiles hold them.",
    attrs = {"deps": attr.label_list(mandatory = True, providers = [PyInfo], doc = "Python libraries.")},
)

def image_pytest_test(name, image, tests, tests_dir, target, files, deps, trees = {}, env = {}, **kwargs):
    """Runs tests inside an image, with its packages and as its user.

    Args:
      name: name of the test.
      image: an OCI layout for this machine's architecture.
      tests: all files of the tests.
      tests_dir: their directory, relative to the workspace.
      target: where the image sees that directory.
      files: what pytest runs, relative to the parent of `target`.
      deps: Python libraries to bring along, such as requirement("pytest"), with all that they need; what the
        image has itself is imported from the image.
      trees: name to repository label; the image sees the repository at /srv/<name>.
      env: environment of the tests.
      **kwargs: further attributes of the test.
    """
    _python_path(
        name = name + ".python_path",
        testonly = True,
        deps = deps,
        tags = ["manual"],
    )
    args = [
        "--image $(rootpath {})".format(image),
        "--tests " + tests_dir,
        "--target " + target,
        "--python-path $(rootpath :{}.python_path)".format(name),
    ]
    args += ["--tree {}=../{}".format(tree, Label(label).workspace_name) for tree, label in trees.items()]
    args += ["--env {}={}".format(key, value) for key, value in env.items()]
    py_test(
        name = name,
        srcs = [_MAIN],
        main = _MAIN,
        args = args + ["--"] + files,
        data = [image, ":" + name + ".python_path"] + tests + trees.values(),
        deps = [Label(":pytest_in_image")],
        **kwargs
    )
