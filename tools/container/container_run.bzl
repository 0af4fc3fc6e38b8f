"""container_run: `bazel run` starts an image, without a container engine."""

load("//tools/image:launcher.bzl", "LAUNCHER_ATTRS", "launcher", "runfiles_path")

_DOC = """Start an OCI image layout in the foreground.

```starlark
container_run(
    name = "serve",
    image = ":image",
    data_volume = "/app/data",
)
```
`bazel run :serve -- --help` lists the flags; arguments after the flags replace the command.
"""

_ATTRS = {
    "data_volume": attr.string(
        doc = "Directory of the image that is kept on the host between runs; empty for none.",
    ),
    "health_path": attr.string(
        default = "/health",
        doc = "HTTP path that returns 2xx once the image is healthy.",
    ),
    "image": attr.label(
        mandatory = True,
        doc = "An OCI image layout directory, as `oci_image` makes it.",
    ),
    "module": attr.string(doc = "Name of the module that the target is in; set by the macro."),
    "port": attr.int(default = 8000, doc = "TCP port when --port is not given."),
    "serve_args": attr.string_list(
        default = ["--host", "{host}", "--port", "{port}"],
        doc = "Appended to the image's own command; `{host}` and `{port}` are replaced.",
    ),
    "_tool": attr.label(
        default = Label("//tools/container:container_run"),
        executable = True,
        # The program runs where `bazel run` runs, so it is built for the target platform.
        cfg = "target",
    ),
}

def _container_run_impl(ctx):
    files = ctx.attr.image[DefaultInfo].files.to_list()
    if len(files) != 1 or not files[0].is_directory:
        fail("container_run {}: 'image' {} must be one OCI layout directory, found {} file(s)".format(
            ctx.label,
            ctx.attr.image.label,
            len(files),
        ))
    target = {
        "data_volume": ctx.attr.data_volume,
        "health_path": ctx.attr.health_path,
        "image": runfiles_path(ctx, files[0]),
        "name": ctx.label.name,
        "port": ctx.attr.port,
        "serve_args": ctx.attr.serve_args,
        "state": "/".join([part for part in (ctx.attr.module or ctx.workspace_name, ctx.label.package) if part]),
    }
    return [launcher(ctx, ctx.attr._tool, target, files, [ctx.attr.image])]

container_run_rule = rule(
    implementation = _container_run_impl,
    doc = _DOC,
    attrs = _ATTRS | LAUNCHER_ATTRS,
    executable = True,
)

def container_run(name, **kwargs):
    """Declare a program that starts an image; `container_run_rule` has the attributes.

    Args:
        name: name of the target.
        **kwargs: attributes of `container_run_rule`.
    """

    # With bzlmod every main repository is called `_main`: two projects would share their data.
    container_run_rule(name = name, module = native.module_name() or "", **kwargs)
