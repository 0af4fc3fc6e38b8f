"""container_structure_test: upstream's rule, without a daemon."""

load(":test_rule.bzl", "TEST_ATTRS", "structure_test")

_DOC = """Tests an image with configurations of schema 2.0.0.

```starlark
container_structure_test(
    name = "image_test",
    configs = ["image_test.yaml"],
    image = ":image",
)
```
Takes the attributes of upstream's rule. Without `driver`, commands run in namespaces of this
machine, owners and modes are those in the layers, and no daemon is needed. Building the target
validates its configurations: each must be one that upstream's own tool accepts, too.
"""

_ATTRS = {
    "configs": attr.label_list(
        allow_files = [".json", ".yaml", ".yml"],
        allow_empty = False,
        mandatory = True,
        doc = "Configurations, run in this order.",
    ),
    "driver": attr.string(
        default = "",
        values = ["", "docker", "host", "tar"],
        doc = "Empty for containers of our own; `docker` runs commands in Docker, else Podman; " +
              "`tar` runs static checks only; `host` is refused.",
    ),
    "image": attr.label(
        allow_files = True,
        mandatory = True,
        doc = "One OCI layout directory, docker-archive or OCI archive, also from the output " +
              "group `oci_layout` or `oci_tarball`.",
    ),
    "platform": attr.string(
        default = "",
        doc = "os/architecture[/variant]: which image of an index, and what a single image must " +
              "be for. Empty accepts the only image (upstream's default is linux/amd64).",
    ),
    "_validate": attr.label(
        default = Label(":validate"),
        executable = True,
        cfg = "exec",
    ),
}

def _validation(ctx):
    """Declare the action that fails the build for a configuration that we or upstream's tool refuse."""
    output = ctx.actions.declare_file(ctx.label.name + ".upstream")
    args = ctx.actions.args()
    args.add_all(ctx.files.configs, before_each = "--config")
    args.add("--output", output)
    ctx.actions.run(
        executable = ctx.executable._validate,
        arguments = [args],
        inputs = ctx.files.configs,
        outputs = [output],
        mnemonic = "StructureTestSchema",
        progress_message = "Validating the configurations of %{label}",
    )
    return OutputGroupInfo(_validation = depset([output]))

def _container_structure_test_impl(ctx):
    if ctx.attr.driver == "host":
        fail("container_structure_test {}: driver \"host\" would run the image's tests on this machine and change it; leave 'driver' out to run them in a container without a daemon".format(ctx.label))
    providers = structure_test(
        ctx,
        configs = ctx.files.configs,
        driver = ctx.attr.driver,
        platform = ctx.attr.platform,
    )
    return providers + [_validation(ctx)]

container_structure_test = rule(
    implementation = _container_structure_test_impl,
    doc = _DOC,
    attrs = _ATTRS | TEST_ATTRS,
    test = True,
)
