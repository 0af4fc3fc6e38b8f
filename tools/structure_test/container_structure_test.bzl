"""container_structure_test: upstream's rule, without a daemon."""

load(":test_rule.bzl", "TEST_ATTRS", "structure_test")

_DOC = """Tests an OCI image layout with configurations of schema 2.0.0.

```starlark
container_structure_test(
    name = "image_test",
    configs = ["image_test.yaml"],
    image = ":image",
)
```
Takes the attributes of upstream's rule. Without `driver`, commands run in namespaces of this
machine, owners and modes are those in the layers, and no daemon is needed.
"""

_ATTRS = {
    "configs": attr.label_list(
        allow_files = [".json", ".yaml", ".yml"],
        allow_empty = False,
        mandatory = True,
        doc = "Configurations; one that cannot be read is a failed test.",
    ),
    "driver": attr.string(
        default = "",
        values = ["", "docker", "host", "tar"],
        doc = "Empty for ours; `tar` makes static checks only; the others are not available.",
    ),
    "image": attr.label(
        mandatory = True,
        doc = "One OCI layout directory, also from the output group `oci_layout`.",
    ),
    "platform": attr.string(
        default = "",
        doc = "Accepted for upstream's sake; the image's own configuration says what it is.",
    ),
}

def _container_structure_test_impl(ctx):
    if ctx.attr.driver in ("docker", "host"):
        fail("container_structure_test {}: driver {} is not available here; leave 'driver' out to run commands without a daemon, or say \"tar\" for static checks only".format(
            ctx.label,
            repr(ctx.attr.driver),
        ))
    return structure_test(
        ctx,
        configs = ctx.files.configs,
        driver = ctx.attr.driver or "namespace",
    )

container_structure_test = rule(
    implementation = _container_structure_test_impl,
    doc = _DOC,
    attrs = _ATTRS | TEST_ATTRS,
    test = True,
)
