"""`LayerInfo`: what a rule that makes an image layer tells the rules that use it."""

LayerInfo = provider(
    doc = "One compressed layer of an image, with its digests already computed.",
    fields = {
        "blob": "File: the layer as a .tar.gz, the very bytes that a registry stores.",
        "descriptor": "File: JSON with `compression`, `diff_id` and `digest` (\"sha256:...\") and `size` in bytes.",
    },
)

def declare_layer(ctx):
    """Declares the two outputs of a layer rule.

    Args:
      ctx: the rule's context.

    Returns:
      A LayerInfo whose files the rule still has to produce.
    """
    return LayerInfo(
        blob = ctx.actions.declare_file(ctx.label.name + ".tar.gz"),
        descriptor = ctx.actions.declare_file(ctx.label.name + ".layer.json"),
    )

def layer_providers(layer):
    """Returns what every layer rule returns: the blob as its file, and the provider.

    Args:
      layer: the rule's LayerInfo.

    Returns:
      A list of providers.
    """
    return [DefaultInfo(files = depset([layer.blob])), layer]
