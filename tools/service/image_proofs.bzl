"""`image_proofs`: what proves an image of `python_service_image`, for each variant and architecture."""

load("//tools/proof:defs.bzl", "elf_closure_test", "image_inventory_test", "image_loads_test", "no_traces_test", "reproducibility_test")
load("//tools/sbom:defs.bzl", "sbom_test")
load("//tools/size:defs.bzl", "image_size_report", "image_size_report_test")
load(":platforms.bzl", "ARCHITECTURES")

# The libraries of the tools that make an image: what is run again to compare.
_BUILDERS = [
    Label("//tools/apt:deb_layer"),
    Label("//tools/apt:layer_policy"),
    Label("//tools/apt:system_layer"),
    Label("//tools/oci:config"),
    Label("//tools/oci:image"),
    Label("//tools/wheels:python_source_layer"),
    Label("//tools/wheels:wheel_layer"),
]

def image_proofs(
        name,
        debian_groups,
        debian_lock,
        python_locks,
        variants = {"": []},
        closure_allowlists = [],
        variant_closure_allowlists = {},
        inventory_allowlists = [],
        import_allowlists = [],
        emulated = []):
    """Proves of each image that it is closed, loads, is visible to scanners, and can be built again bit for bit.

    For each variant and architecture: `<name><variant>_<architecture>_closure_test` (every ELF object, script and
    link finds what it needs) and `…_inventory_test` (scanners see exactly the locks' packages). For each variant:
    `<name><variant>_loads_test` (its own linker agrees, and every Python module imports). For each architecture:
    `<name>_<architecture>_reproducibility_test`, `…_traces_test` and `sbom_<architecture>_test`.

    Args:
      name: name of the image.
      debian_groups: groups of the Debian lock that every variant has.
      debian_lock: lock of Debian packages.
      python_locks: architecture → lock of wheels.
      variants: suffix of the name → groups of the Debian lock that only this variant has.
      closure_allowlists: YAML lists of accepted findings, with reasons.
      variant_closure_allowlists: variant → further such lists.
      inventory_allowlists: YAML lists of files that belong to no package, with reasons.
      import_allowlists: YAML lists of modules that need not import, with reasons.
      emulated: architectures whose `loads_test` runs in an emulator too: `<name>_<architecture>_loads_test`.
    """
    prefix = "" if name == "image" else name + "_"
    for variant, groups in variants.items():
        for architecture in ARCHITECTURES:
            image = "{}{}_{}".format(name, variant, architecture)
            elf_closure_test(
                name = image + "_closure_test",
                size = "medium",
                accepted = closure_allowlists + variant_closure_allowlists.get(variant, []),
                image = ":" + image,
            )
            image_inventory_test(
                name = image + "_inventory_test",
                size = "medium",
                accepted = inventory_allowlists,
                debian_groups = debian_groups + groups,
                debian_lock = debian_lock,
                image = ":" + image,
                python_lock = python_locks[architecture],
            )
        image_loads_test(
            name = name + variant + "_loads_test",
            size = "medium",
            accepted = import_allowlists,
            image = ":" + name + variant,
        )
    for architecture in ARCHITECTURES:
        image = "{}_{}".format(name, architecture)
        reproducibility_test(
            name = image + "_reproducibility_test",
            size = "large",
            target = ":" + image,
            deps = _BUILDERS,
        )
        no_traces_test(
            name = image + "_traces_test",
            size = "medium",
            image = ":" + image,
        )
        sbom_test(
            name = "{}sbom_{}_test".format(prefix, architecture),
            size = "medium",
            cyclonedx = ":{}sbom_cyclonedx_{}".format(prefix, architecture),
            image = ":" + image,
            spdx = ":{}sbom_spdx_{}".format(prefix, architecture),
        )
        if architecture in emulated:
            image_loads_test(
                name = image + "_loads_test",
                size = "large",
                accepted = import_allowlists,
                emulator = Label("//tools/container:emulator_" + architecture),
                image = ":" + image,
            )

def image_size_reports(name, debian_intent, debian_lock, python_intent, python_locks, layers, baseline = None, inventory_allowlists = []):
    """Tells where the image's bytes are and why: `size_report`, one for each architecture, and tests of them.

    Args:
      name: name of the image.
      debian_intent: what people asked of Debian, with reasons.
      debian_lock: lock of Debian packages.
      python_intent: what people asked of the Python index, with reasons.
      python_locks: architecture → lock of wheels.
      layers: what to call the layers, the lowest first.
      baseline: JSON of the image to compare with.
      inventory_allowlists: YAML lists of files that belong to no package, with reasons.
    """
    prefix = "" if name == "image" else name + "_"
    for architecture in ARCHITECTURES:
        sources = {
            "debian_intent": debian_intent,
            "debian_lock": debian_lock,
            "image": ":{}_{}".format(name, architecture),
            "python_intent": python_intent,
            "python_lock": python_locks[architecture],
        }
        image_size_report(
            name = "{}size_report_{}".format(prefix, architecture),
            accepted = inventory_allowlists,
            baseline = baseline,
            layers = layers,
            title = native.package_name().rpartition("/")[2] or name,
            **sources
        )
        image_size_report_test(
            name = "{}size_report_{}_test".format(prefix, architecture),
            size = "medium",
            report = ":{}size_report_{}".format(prefix, architecture),
            **sources
        )
    native.alias(
        name = prefix + "size_report",
        actual = select({
            "@platforms//cpu:aarch64": ":{}size_report_arm64".format(prefix),
            "@platforms//cpu:x86_64": ":{}size_report_amd64".format(prefix),
        }),
    )
