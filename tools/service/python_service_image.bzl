"""`python_service_image`: a Python service as an image of several platforms and variants, and what uses it."""

load("@pinned_image_suite//:defs.bzl", "DEBIAN_LOCK")
load("@rules_oci//oci:defs.bzl", "oci_image", "oci_image_index", "oci_load", "oci_push")
load("//tools/apt:defs.bzl", "deb_layer", "system_layer")
load("//tools/attest:defs.bzl", "image_provenance", "image_sign", "image_statement")
load("//tools/container:defs.bzl", "container_run")
load("//tools/oci:defs.bzl", "image_labels", "oci_image_config")
load("//tools/registry:defs.bzl", "oci_attach")
load("//tools/sbom:defs.bzl", "image_sbom", "sbom_components")
load("//tools/verify:defs.bzl", "image_diff", "image_verify")
load("//tools/wheels:defs.bzl", "python_source_layer", "wheel_layer")
load(":platforms.bzl", "ARCHITECTURES", "HOST", "PLATFORMS", "by_architecture")

# What pins the programs that build an image.
_BUILDER_LOCKS = [
    Label("//third_party/bazel:root.lock.json"),
    Label(DEBIAN_LOCK),
]

# Format of an SBOM → what cosign calls it.
_STATEMENTS = {
    "cyclonedx": "cyclonedx",
    "spdx": "spdxjson",
}

# Format → (extension, media type).
_SBOMS = {
    "cyclonedx": ("cdx", "application/vnd.cyclonedx+json"),
    "spdx": ("spdx", "application/spdx+json"),
    "spdx3": ("spdx3", "application/spdx+json"),
}

def _package(label):
    return label.rpartition("//")[2].partition(":")[0]

def _wheels_by_layer(wheels, layers):
    """Sort wheels into layers.

    Args:
      wheels: labels such as `@pypi//numpy:whl`.
      layers: layer → names of packages, from the largest and least changed on.

    Returns:
      A dictionary, layer → labels; what no layer names is in the last one, `other`.
    """
    result = {layer: [label for label in wheels if _package(label) in packages] for layer, packages in layers.items()}
    for layer, packages in layers.items():
        missing = [package for package in packages if package not in [_package(label) for label in wheels]]
        if missing:
            fail("wheel_layers: {} names {}, not in wheels; remove it, or add it to the requirements and lock again".format(repr(layer), ", ".join(missing)))
    named = [label for labels in result.values() for label in labels]
    return result | {"other": [label for label in wheels if label not in named]}

def python_service_image(
        name,
        srcs,
        debian_layers,
        wheels,
        user,
        layer_policy,
        variants = {"": {}},
        wheel_layers = {},
        app_layers = {},
        excluded_wheel_paths = None,
        symlinks = {},
        maintainer_scripts = [Label("//third_party/debian:maintainer_scripts.yaml")],
        directory = "/app",
        strip_prefix = "",
        data = {},
        port = 8000,
        health_path = "/health",
        healthcheck = [],
        healthcheck_interval = "",
        healthcheck_timeout = "",
        healthcheck_start_period = "",
        healthcheck_retries = 0,
        stop_signal = "",
        labels = {},
        supplier = "",
        distro = "debian-12",
        tags = [],
        visibility = None,
        **image_attributes):
    """Make the layers, the images, their SBOMs, and the programs that use them.

    One description makes `<name><variant>_<architecture>` for each variant and architecture, and the targets
    `<name><variant>` for the machine that builds; `index`, both architectures; `serve`, `load`, `push`,
    `push_index`, `verify`, `diff`; for each format (spdx, spdx3, cyclonedx) `sbom_<format><variant>` and
    `sbom_<format>_index`, `attach_sbom` and `attach_index_sbom`; `provenance<variant>` and `provenance_index`; `sign`,
    which signs the pushed image, its provenance and its SBOMs with a key that Bazel never sees. Targets other than the
    images have `<name>_` in front unless the name is `image`. Layers lie from rarely to often changing:
    `debian_layers`, system, the variant's own, wheels, application; the layers of two services that have the same
    content are the same blobs.

    Args:
      name: name of the image.
      srcs: the application's files.
      debian_layers: layer → packages, such as `["@debian//:base"]`; the lowest first.
      wheels: the wheels, `all_whl_requirements` of their hub.
      user: `name:uid:gid:/home[:/shell]`, which runs the image; its configuration names it by the numbers.
      layer_policy: the Debian lock, or its `layer_policy`, with which a pin of no layer rebuilds nothing.
      variants: suffix of the name → layers of Debian packages that only this variant has. The system layer is the
        same in all variants: it does nothing for these packages' maintainer scripts.
      wheel_layers: layer → names of packages, from the largest and least changed on; the rest is in one more.
      app_layers: layer → files and directories of the application, as paths below `directory`, which move together: a
        changed line is pulled and pushed with its layer alone. The rest is in one more layer, the last.
      excluded_wheel_paths: JSON list of globs of wheels' files that stay out, each with its reason.
      symlinks: layer of Debian packages → links in it, path → target.
      maintainer_scripts: what is done instead of running the packages' scripts, as for `system_layer`.
      directory: directory of the application, and working directory.
      strip_prefix: part of the sources' paths that is left out.
      data: directories below `directory` that the user may write, such as `{"data": "1000:1000:0755"}`;
        `serve` keeps the first between runs.
      port: TCP port that the service listens on.
      health_path: HTTP path that `serve` waits for.
      healthcheck: `["CMD", program, argument…]`, as for `oci_image_config`.
      healthcheck_interval: as for `oci_image_config`.
      healthcheck_timeout: as for `oci_image_config`.
      healthcheck_start_period: as for `oci_image_config`.
      healthcheck_retries: as for `oci_image_config`.
      stop_signal: as for `oci_image_config`; engines send SIGTERM without it.
      labels: what the image says of itself: labels of each image, annotations of the index. A dictionary, to which
        the flags of `image_labels` add documentation, revision, source and version; or a file of `key=value` lines.
      supplier: who makes the image, for its SBOMs: `Name <e-mail or web address>`. NTIA, FSCT and BSI want one.
      distro: the distribution, as package URLs name it.
      tags: tags of the targets, such as `manual`.
      visibility: visibility of the targets.
      **image_attributes: attributes of rules_oci's `oci_image`: cmd, entrypoint, env, volumes, …
    """
    prefix = "" if name == "image" else name + "_"
    common = ({"visibility": visibility} if visibility else {}) | ({"tags": tags} if tags else {})

    # Built for the platforms below only; for the machine that builds they would be built once more.
    parts = common | {"tags": ["manual"]}
    packages = [package for group in debian_layers.values() for package in group]
    all_debian_layers = dict(debian_layers)
    for layers in variants.values():
        all_debian_layers.update(layers)

    for layer, debs in all_debian_layers.items():
        deb_layer(
            name = prefix + layer + "_layer",
            debs = debs,
            lock = layer_policy,
            symlinks = symlinks.get(layer, {}),
            **parts
        )

    # What maintainer scripts would have done, and the user. The same in every variant.
    system_layer(
        name = prefix + "system_layer",
        arch = HOST,
        layers = [":{}{}_layer".format(prefix, layer) for layer in debian_layers],
        lock = layer_policy,
        maintainer_scripts = maintainer_scripts,
        users = [user],
        **parts
    )
    wheels_of = {layer: members for layer, members in _wheels_by_layer(wheels, wheel_layers).items() if members}
    for layer, members in wheels_of.items():
        wheel_layer(
            name = prefix + layer + "_wheels_layer",
            excluded_paths = excluded_wheel_paths,
            lock = layer_policy,
            strip = True,
            wheels = members,
            **parts
        )
    places = [place for members in app_layers.values() for place in members]
    for number, place in enumerate(places):
        if place in places[:number] or [other for other in places if place.startswith(other + "/")]:
            fail("app_layers: {} is in two layers, itself or by a directory above it; remove one".format(repr(place)))
    apps = {"{}{}_app_layer".format(prefix, layer): members for layer, members in app_layers.items()}
    apps[prefix + "app_layer"] = []
    for layer, members in apps.items():
        python_source_layer(
            name = layer,
            srcs = srcs,
            directory = directory,
            empty_directories = {} if members else data,
            exclude = [] if members else places,
            include = members,
            lock = layer_policy,
            strip_prefix = strip_prefix,
            **parts
        )

    if type(labels) == "dict":
        image_labels(
            name = prefix + "labels",
            labels = labels,
            **parts
        )
        labels = ":{}labels".format(prefix)

    for variant, layers in variants.items():
        oci_image(
            name = "oci_" + name + variant,
            architecture = HOST,
            exposed_ports = ["{}/tcp".format(port)],
            labels = labels,
            os = "linux",
            tars = [":{}{}_layer".format(prefix, layer) for layer in list(debian_layers) + ["system"] + list(layers)] +
                   [":{}{}_wheels_layer".format(prefix, layer) for layer in wheels_of] +
                   [":" + layer for layer in apps],
            # As numbers: Kubernetes refuses a name under runAsNonRoot, since it cannot tell whether it is root's.
            user = ":".join(user.split(":")[1:3]),
            workdir = directory,
            **(parts | image_attributes)
        )
        for architecture, platform in PLATFORMS.items():
            # Docker and Podman both honour a healthcheck only in an image of Docker's own media types.
            oci_image_config(
                name = "{}{}_{}".format(name, variant, architecture),
                healthcheck = healthcheck,
                healthcheck_interval = healthcheck_interval,
                healthcheck_retries = healthcheck_retries,
                healthcheck_start_period = healthcheck_start_period,
                healthcheck_timeout = healthcheck_timeout,
                image = ":oci_" + name + variant,
                media_types = "docker",
                platform = platform,
                stop_signal = stop_signal,
                **common
            )
        for suffix in ["", ".digest"]:
            _for_host(name + variant, suffix, common)

    oci_image_index(
        name = prefix + "index",
        annotations = labels,
        images = [":{}_{}".format(name, architecture) for architecture in ARCHITECTURES],
        **common
    )
    _sboms(name, prefix, packages, variants, wheels, {"distro": distro, "lock": layer_policy, "supplier": supplier}, common)
    _attestations(name, prefix, variants, common)
    image_verify(name = prefix + "verify", images = [":{}index".format(prefix)], **common)
    all_packages = packages + [package for group in variants.get("", {}).values() for package in group]
    image_diff(name = prefix + "diff", debs = all_packages, image = ":{}index".format(prefix), **common)
    _programs(name, prefix, "/".join([directory] + list(data)[:1]) if data else "", port, health_path, common)

def _for_host(name, suffix, common):
    """Declare `<name><suffix>`, of the architecture of the machine that builds."""
    native.alias(
        name = name + suffix,
        actual = by_architecture(":{}_{{}}{}".format(name, suffix)),
        **common
    )

def _sboms(name, prefix, debs, variants, wheels, said, common):
    title = native.package_name().rpartition("/")[2] or name
    components = {}
    for architecture, platform in PLATFORMS.items():
        for variant, layers in [(None, {})] + variants.items():
            own = debs if variant == None else [package for group in layers.values() for package in group]
            target = "{}sbom_components{}_{}".format(prefix, "_common" if variant == None else variant, architecture)
            components[(variant, architecture)] = ":" + target
            sbom_components(
                name = target,
                debs = own,
                distro = said["distro"],
                platform = platform,
                wheels = wheels if variant == None else [],
                **(common | {"tags": ["manual"]})  # Built by the SBOMs.
            )
    for format, (extension, _) in _SBOMS.items():
        for architecture in ARCHITECTURES:
            for variant in variants:
                image_sbom(
                    name = "{}sbom_{}{}_{}".format(prefix, format, variant, architecture),
                    out = "{}{}{}_{}.{}.json".format(prefix, title, variant, architecture, extension),
                    components = {components[(which, architecture)]: architecture for which in [None, variant]},
                    format = format,
                    image = ":{}{}_{}".format(name, variant, architecture),
                    image_name = title,
                    **(said | common)
                )
        image_sbom(
            name = "{}sbom_{}_index".format(prefix, format),
            out = "{}{}_index.{}.json".format(prefix, title, extension),
            components = {
                components[(which, architecture)]: architecture
                for architecture in ARCHITECTURES
                for which in [None, ""]
            },
            format = format,
            image = ":{}index".format(prefix),
            image_name = title,
            **(said | common)
        )
        for variant in variants:
            _for_host("{}sbom_{}{}".format(prefix, format, variant), "", common)

def _attestations(name, prefix, variants, common):
    """Declare what is said of the images, unsigned, and the program that signs it."""
    images = {
        variant + "_" + architecture: (variant, [architecture])
        for variant in variants
        for architecture in ARCHITECTURES
    } | {"_index": ("", ARCHITECTURES)}
    statements = []
    for suffix, (variant, architectures) in images.items():
        image = ":{}index".format(prefix) if suffix == "_index" else ":" + name + suffix
        image_provenance(
            name = prefix + "provenance" + suffix,
            components = [
                ":{}sbom_components{}_{}".format(prefix, which, architecture)
                for architecture in architectures
                for which in ["_common", variant]
            ],
            image = image,
            locks = _BUILDER_LOCKS,
            **common
        )
        if variant:
            continue

        # What the index holds, and what is therefore signed with it.
        statements.append(":{}provenance{}".format(prefix, suffix))
        for format, predicate_type in _STATEMENTS.items():
            statement = "{}sbom_statement_{}{}".format(prefix, format, suffix)
            image_statement(
                name = statement,
                image = image,
                predicate = ":{}sbom_{}{}".format(prefix, format, suffix),
                predicate_type = predicate_type,
                **(common | {"tags": ["manual"]})  # Built for what signs it.
            )
            statements.append(":" + statement)
    for variant in variants:
        _for_host(prefix + "provenance" + variant, "", common)
    image_sign(
        name = prefix + "sign",
        image = ":{}index".format(prefix),
        statements = statements,
        **common
    )

def _programs(name, prefix, data_volume, port, health_path, common):
    title = native.package_name().rpartition("/")[2] or name
    container_run(
        name = prefix + "serve",
        data_volume = data_volume,
        health_path = health_path,
        image = ":" + name,
        port = port,
        **common
    )
    oci_load(name = prefix + "load", image = ":" + name, repo_tags = ["pinned-image/{}:latest".format(title)], **common)
    oci_push(name = prefix + "push", image = ":" + name, **common)
    oci_push(name = prefix + "push_index", image = ":{}index".format(prefix), **common)
    for format, (_, media_type) in _SBOMS.items():
        # After the push; the image and its digest stay as they are.
        oci_attach(
            name = prefix + "attach_sbom" + ("" if format == "spdx" else "_" + format),
            artifact = ":{}sbom_{}".format(prefix, format),
            artifact_type = media_type,
            image = ":" + name,
            **common
        )
        oci_attach(
            name = prefix + "attach_index_sbom" + ("" if format == "spdx" else "_" + format),
            artifact = ":{}sbom_{}_index".format(prefix, format),
            artifact_type = media_type,
            image = ":{}index".format(prefix),
            **common
        )
