"""image_test: healthcheck, entrypoint and invariants of an image."""

load(":test_rule.bzl", "TEST_ATTRS", "structure_test")

_DOC = """Tests that container_structure_test has no fields for; the schema is in README.md.

```starlark
image_test(
    name = "healthcheck_test",
    configs = ["healthcheck_test.yaml"],
    image = ":image",
)
```
"""

_ATTRS = {
    "configs": attr.label_list(
        allow_files = [".json", ".yaml", ".yml"],
        allow_empty = False,
        mandatory = True,
        doc = "Configurations of schema image_test/1.",
    ),
    "driver": attr.string(
        default = "",
        values = ["", "tar"],
        doc = "`tar` runs static checks only: tests that start the image fail.",
    ),
    "image": attr.label(
        allow_files = True,
        mandatory = True,
        doc = "One OCI layout directory, docker-archive or OCI archive.",
    ),
    "platform": attr.string(
        default = "",
        doc = "As in container_structure_test.",
    ),
}

def _image_test_impl(ctx):
    return structure_test(
        ctx,
        driver = ctx.attr.driver,
        image_configs = ctx.files.configs,
        platform = ctx.attr.platform,
    )

image_test = rule(
    implementation = _image_test_impl,
    doc = _DOC,
    attrs = _ATTRS | TEST_ATTRS,
    test = True,
)
