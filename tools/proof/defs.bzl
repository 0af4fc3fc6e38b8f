"""What BUILD files load from here: proofs of a finished image. Each takes any OCI layout."""

load(":proof_test.bzl", "proof_test")
load(":reproducibility_test.bzl", _no_traces_test = "no_traces_test", _reproducibility_test = "reproducibility_test")

no_traces_test = _no_traces_test
reproducibility_test = _reproducibility_test

def elf_closure_test(name, image, allowlist = [], **kwargs):
    """Prove, without running anything, that every object, script and link finds what it needs.

    Args:
      name: name of the test.
      image: an OCI layout, of any architecture.
      allowlist: YAML lists of findings that are allowed, with reasons (allowlist.py).
      **kwargs: further attributes of the test.
    """
    proof_test(name, tool = Label(":closure"), image = image, allowlist = allowlist, **kwargs)

def image_loads_test(name, image, allowlist = [], emulator = None, **kwargs):
    """Prove in the running image that its linker agrees with the closure, and every module imports.

    Args:
      name: name of the test.
      image: an OCI layout, of the machine's architecture unless there is an emulator.
      allowlist: YAML lists of modules that need not import, with reasons (allowlist.py).
      emulator: //tools/container:emulator_<architecture>, for the image of another architecture; empty
        on machines that need none.
      **kwargs: further attributes of the test.
    """
    proof_test(
        name,
        tool = Label(":loads"),
        image = image,
        allowlist = allowlist,
        files = {"--emulator": emulator} if emulator else {},
        **kwargs
    )

def image_inventory_test(name, image, debian_lock, python_lock, debian_groups = [], allowlist = [], **kwargs):
    """Prove that scanners see exactly what the locks say, by reading the image as they do.

    Args:
      name: name of the test.
      image: an OCI layout.
      debian_lock: lock of Debian packages.
      python_lock: lock of wheels for the image's architecture.
      debian_groups: groups of the Debian lock that are in the image; by default all of the image's.
      allowlist: YAML lists of files that are of no package, with reasons (allowlist.py).
      **kwargs: further attributes of the test.
    """
    proof_test(
        name,
        tool = Label(":inventory"),
        image = image,
        allowlist = allowlist,
        files = {"--debian-lock": debian_lock, "--python-lock": python_lock},
        args = ["--group=" + group for group in debian_groups],
        **kwargs
    )
