"""`LayerInfo`: what a rule that makes an image layer provides to the rules that use it."""

load("@bazel_skylib//rules:common_settings.bzl", "BuildSettingInfo")

LayerInfo = provider(
    doc = "One compressed layer of an image, with its digests already computed.",
    fields = {
        "blob": "File: the layer as .tar.gz, .tar.zst or .tar, the very bytes that a registry stores.",
        "descriptor": "File: JSON with `compression`, `diff_id` and `digest` (\"sha256:...\") and `size` in bytes.",
    },
)

# The build settings that every rule that writes a layer reads.
LAYER_ATTRS = {
    "_compression": attr.label(default = Label("//tools/archive:compression")),
    "_compression_level": attr.label(default = Label("//tools/archive:compression_level")),
}

_EXTENSIONS = {"gzip": ".tar.gz", "none": ".tar", "zstd": ".tar.zst"}

def declare_layer(ctx):
    """Declare the two outputs of a layer rule.

    Args:
      ctx: the context of a rule with LAYER_ATTRS.

    Returns:
      A LayerInfo whose files the rule still has to produce.
    """
    return LayerInfo(
        blob = ctx.actions.declare_file(ctx.label.name + _EXTENSIONS[ctx.attr._compression[BuildSettingInfo].value]),
        descriptor = ctx.actions.declare_file(ctx.label.name + ".layer.json"),
    )

def add_layer_arguments(ctx, args, layer):
    """Add the flags for a layer's outputs and compression level.

    Args:
      ctx: the context of a rule with LAYER_ATTRS.
      args: the Args of its action.
      layer: the LayerInfo of declare_layer.
    """
    args.add("--out", layer.blob)
    args.add("--descriptor", layer.descriptor)
    level = ctx.attr._compression_level[BuildSettingInfo].value
    if level != -1:
        args.add("--level", level)

def add_content(ctx, args, content):
    """Add the flag for what a layer holds: JSON, since a path may have any character that would end a flag's value.

    Args:
      ctx: the rule's context.
      args: the Args of its action.
      content: dictionary for the tool.

    Returns:
      The File with the content, an input of the action.
    """
    file = ctx.actions.declare_file(ctx.label.name + ".content.json")
    ctx.actions.write(file, json.encode(content))
    args.add("--content", file)
    return file

def layer_providers(layer):
    """Return what every layer rule returns: the blob as its file, and the provider.

    Args:
      layer: the rule's LayerInfo.

    Returns:
      A list of providers.
    """
    return [DefaultInfo(files = depset([layer.blob])), layer]
