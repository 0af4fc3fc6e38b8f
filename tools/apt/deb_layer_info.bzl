"""`DebLayerInfo`: what a layer of Debian packages provides to the layer that completes them."""

DebLayerInfo = provider(
    doc = "The packages of a layer.",
    fields = {
        "debs": "list of File: the packages.",
        "listing": "File: JSON of what is in them (tools/apt/deb_listing.py), so that nobody decompresses them again.",
    },
)
