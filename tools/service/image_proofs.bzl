"""`image_proofs`: what proves an image of `python_service_image`, for each variant and architecture."""

load("//tools/audit:defs.bzl", "image_audit")
load("//tools/proof:defs.bzl", "elf_closure_test", "image_inventory_test", "image_loads_test", "no_traces_test", "reproducibility_test")
load("//tools/sbom:defs.bzl", "sbom_test")
load("//tools/size:defs.bzl", "image_size_report", "image_size_report_test")
load("//tools/verify:defs.bzl", "golden_layers")
load(":platforms.bzl", "ARCHITECTURES", "by_architecture")

# The tools that make an image, which the reproducibility test runs again.
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
        image,
        debian_groups,
        debian_lock,
        python_locks,
        variants = {"": []},
        closure_allowlists = [],
        variant_closure_allowlists = {},
        inventory_allowlists = [],
        import_allowlists = [],
        emulated = [],
        golden = None,
        layer_policy = None,
        debian_intent = None,
        python_intent = None,
        size_baseline = None,
        available = None,
        vex = [],
        vex_tests = []):
    """Prove that each image is closed, loads, is visible to scanners, and can be built again bit for bit.

    For each variant and architecture: `<image><variant>_<architecture>_closure_test` (every ELF object, script and
    link finds what it needs), `…_inventory_test` (scanners see exactly the locks' packages) and
    `sbom<variant>_<architecture>_test` (the SBOMs are true and pass the public checkers, which want a `supplier`);
    `sbom_index_test` likewise. `golden_test`: the layers of packages have the digests of a file, which
    `bazel run :golden` writes. For each variant: `<image><variant>_loads_test` (its own linker agrees, and every
    Python module imports). For each architecture: `<image>_<architecture>_reproducibility_test` and `…_traces_test`.
    Where the bytes are and why, `size_report`, and for each architecture a test that the report is true. What is
    behind, unsupported or vulnerable, `audit`, and a test that its statements hold.

    Args:
      name: name of the test suite of all of them.
      image: name of the `python_service_image`, in the same package.
      debian_groups: groups of the Debian lock that every variant has.
      debian_lock: lock of Debian packages.
      python_locks: architecture → lock of wheels.
      variants: suffix of the name → groups of the Debian lock that only this variant has.
      closure_allowlists: YAML lists of allowed findings, with reasons.
      variant_closure_allowlists: variant → further such lists.
      inventory_allowlists: YAML lists of files that belong to no package, with reasons.
      import_allowlists: YAML lists of modules that need not import, with reasons.
      emulated: architectures whose `loads_test` runs in an emulator too: `<name>_<architecture>_loads_test`.
      golden: JSON file of the layers' digests; without it there is no such test.
      layer_policy: what the layers are made with, for `golden`.
      debian_intent: what people asked of Debian, with reasons; without it there is no size report.
      python_intent: what people asked of the Python index, with reasons, for the size report.
      size_baseline: JSON of the image that the size report compares with.
      available: JSON file of what the suites offer, which the lock command writes; without it there is no audit.
      vex: OpenVEX documents, for the audit.
      vex_tests: the test files that their statements name.
    """
    prefix = "" if image == "image" else image + "_"
    others = list(native.existing_rules())
    for variant, groups in variants.items():
        for architecture in ARCHITECTURES:
            built = "{}{}_{}".format(image, variant, architecture)
            elf_closure_test(
                name = built + "_closure_test",
                size = "medium",
                allowlist = closure_allowlists + variant_closure_allowlists.get(variant, []),
                image = ":" + built,
            )
            image_inventory_test(
                name = built + "_inventory_test",
                size = "medium",
                allowlist = inventory_allowlists,
                debian_groups = debian_groups + groups,
                debian_lock = debian_lock,
                image = ":" + built,
                python_lock = python_locks[architecture],
            )
            _sbom_test(prefix, variant + "_" + architecture, built)
        image_loads_test(
            name = image + variant + "_loads_test",
            size = "medium",
            allowlist = import_allowlists,
            image = ":" + image + variant,
        )
    _sbom_test(prefix, "_index", prefix + "index")
    for architecture in ARCHITECTURES:
        built = "{}_{}".format(image, architecture)
        reproducibility_test(
            name = built + "_reproducibility_test",
            size = "large",
            target = ":" + built,
            deps = _BUILDERS,
        )
        no_traces_test(
            name = built + "_traces_test",
            size = "medium",
            image = ":" + built,
        )
        if architecture in emulated:
            image_loads_test(
                name = built + "_loads_test",
                size = "large",
                allowlist = import_allowlists,
                emulator = Label("//tools/container:emulator_" + architecture),
                image = ":" + built,
            )
    if golden:
        golden_layers(
            name = prefix + "golden",
            golden = golden,
            images = [":{}{}_{}".format(image, variant, architecture) for variant in variants for architecture in ARCHITECTURES],
            layer_policy = layer_policy,
            without = [prefix + "app"],
        )
    if debian_intent:
        _size_reports(
            prefix + "size_report",
            image,
            baseline = size_baseline,
            inventory_allowlists = inventory_allowlists,
            python_locks = python_locks,
            sources = {"debian_intent": debian_intent, "debian_lock": debian_lock, "python_intent": python_intent},
        )
    if available:
        image_audit(
            name = prefix + "audit",
            available = available,
            components = {
                architecture: [":{}sbom_components{}_{}".format(prefix, which, architecture) for which in ["_common", ""]]
                for architecture in ARCHITECTURES
            },
            debian_lock = debian_lock,
            python_locks = python_locks,
            tests = vex_tests,
            vex = vex,
        )
    native.test_suite(
        name = name,
        tests = [":" + test for test in native.existing_rules() if test.endswith("_test") and test not in others],
    )

def _sbom_test(prefix, suffix, image):
    sbom_test(
        name = "{}sbom{}_test".format(prefix, suffix),
        size = "medium",
        image = ":" + image,
        **{format: ":{}sbom_{}{}".format(prefix, format, suffix) for format in ["cyclonedx", "spdx", "spdx3"]}
    )

def _size_reports(name, image, sources, python_locks, baseline, inventory_allowlists):
    for architecture in ARCHITECTURES:
        inputs = sources | {
            "image": ":{}_{}".format(image, architecture),
            "python_lock": python_locks[architecture],
        }
        image_size_report(
            name = "{}_{}".format(name, architecture),
            allowlist = inventory_allowlists,
            baseline = baseline,
            title = native.package_name().rpartition("/")[2] or image,
            **inputs
        )
        image_size_report_test(
            name = "{}_{}_test".format(name, architecture),
            size = "medium",
            report = ":{}_{}".format(name, architecture),
            **inputs
        )
    native.alias(
        name = name,
        actual = by_architecture(":" + name + "_{}"),
    )
