"""What BUILD files load from here: proofs of a finished image. Each takes any OCI layout."""

load("@rules_python//python:defs.bzl", "py_test")
load(":image_size_report.bzl", _image_size_report = "image_size_report")

image_size_report = _image_size_report

def elf_closure_test(name, image, accepted = [], **kwargs):
    """Proves, without running anything, that every object, script and link finds what it needs.

    Args:
      name: name of the test.
      image: an OCI layout, of any architecture.
      accepted: YAML lists of findings that are accepted, with reasons (accepted.py).
      **kwargs: further attributes of the test.
    """
    _proof_test(name, tool = "closure", image = image, accepted = accepted, **kwargs)

def image_loads_test(name, image, accepted = [], emulator = None, **kwargs):
    """Proves in the running image that its linker agrees with the closure, and every module imports.

    Args:
      name: name of the test.
      image: an OCI layout, of the machine's architecture unless there is an emulator.
      accepted: YAML lists of modules that need not import, with reasons (accepted.py).
      emulator: static qemu-user for another architecture (//tools/container:qemu_<architecture>); not
        used where the machine needs none.
      **kwargs: further attributes of the test.
    """
    _proof_test(
        name,
        tool = "loads",
        image = image,
        accepted = accepted,
        files = {"--emulator": emulator} if emulator else {},
        **kwargs
    )

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

def image_size_report_test(
        name,
        report,
        image,
        debian_lock,
        debian_intent,
        python_lock,
        python_intent,
        **kwargs):
    """Holds an image_size_report against the image and the locks: every byte once, every chain true.

    Args:
      name: name of the test.
      report: an image_size_report.
      image: the OCI layout it is about.
      debian_lock: what the report was made from, as the next three.
      debian_intent: the same.
      python_lock: the same.
      python_intent: the same.
      **kwargs: further attributes of the test.
    """

    # No test, but a part of one: `//...` need not build it by itself.
    native.filegroup(
        name = name + "_json",
        srcs = [report],
        output_group = "json",
        tags = ["manual"],
    )
    _proof_test(
        name,
        tool = "size_check",
        image = image,
        accepted = [],
        files = {
            "--debian-intent": debian_intent,
            "--debian-lock": debian_lock,
            "--python-intent": python_intent,
            "--python-lock": python_lock,
            "--report": ":" + name + "_json",
        },
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
