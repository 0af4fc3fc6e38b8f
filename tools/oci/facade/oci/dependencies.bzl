"""What a WORKSPACE written for upstream calls first; the rules here bring what they need."""

def rules_oci_dependencies():
    """Declares nothing: there is nothing to fetch."""
