"""`canonical`: what Bazel calls a repository that is declared beside the interpreter's, with and without bzlmod."""

_ANCHOR = "pinned_image_cpython"

def canonical(name):
    """Return the canonical name of a repository.

    A module extension is not told the prefix that Bazel puts before its repositories' names, but a label
    of one of them, which MODULE.bazel has in its use_repo, shows it. In a WORKSPACE there is none.

    Args:
      name: the name it is declared by, in the same extension as the interpreter.
    """
    return Label("@{}//:BUILD.bazel".format(_ANCHOR)).workspace_name.removesuffix(_ANCHOR) + name
