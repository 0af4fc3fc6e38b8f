"""What BUILD files load from here: proofs of a finished image. Each takes any OCI layout."""

load("@rules_python//python:defs.bzl", "py_test")

def elf_closure_test(name, image, accepted = [], **kwargs):
    """Proves, without running anything, that every object, script and link finds what it needs.

    Args:
      name: name of the test.
      image: an OCI layout, of any architecture.
      accepted: YAML lists of findings that are accepted, with reasons (accepted.py).
      **kwargs: further attributes of the test.
    """
    _proof_test(name, tool = "closure", image = image, accepted = accepted, **kwargs)

def image_loads_test(name, image, accepted = [], **kwargs):
    """Proves in the running image that its linker agrees with the closure, and every module imports.

    Args:
      name: name of the test.
      image: an OCI layout of the machine's architecture.
      accepted: YAML lists of modules that need not import, with reasons (accepted.py).
      **kwargs: further attributes of the test.
    """
    _proof_test(name, tool = "loads", image = image, accepted = accepted, **kwargs)

def image_inventory_test(name, image, debian_lock, python_lock, debian_groups = [], accepted = [], **kwargs):
    """Proves that scanners see exactly what the locks say, by reading the image as they do.

    Args:
      name: name of the test.
      image: an OCI layout.
      debian_lock: lock of Debian packages.
      python_lock: lock of wheels for the image's architecture.
      debian_groups: groups of the Debian lock that are in the image; by default all of the image's.
      accepted: YAML lists of files that are of no package, with reasons (accepted.py).
      **kwargs: further attributes of the test.
    """
    _proof_test(
        name,
        tool = "inventory",
        image = image,
        accepted = accepted,
        files = {"--debian-lock": debian_lock, "--python-lock": python_lock},
        args = ["--group=" + group for group in debian_groups],
        **kwargs
    )

def _proof_test(name, tool, image, accepted, files = {}, args = [], **kwargs):
    main = "//tools/proof:{}.py".format(tool)
    py_test(
        name = name,
        srcs = [main],
        main = main,
        args = ["--image", "$(rootpath {})".format(image)] +
               ["--accepted=$(rootpath {})".format(each) for each in accepted] +
               ["{}=$(rootpath {})".format(flag, file) for flag, file in files.items()] + args,
        data = [image] + accepted + files.values(),
        deps = ["//tools/proof:" + tool],
        **kwargs
    )
