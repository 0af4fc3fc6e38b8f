"""What a WORKSPACE written for upstream calls second; the rules here are Python, without toolchains."""

# buildifier: disable=unused-variable
def oci_register_toolchains(name, register = True, **kwargs):
    """Registers nothing.

    Args:
        name: upstream's prefix of the repositories it would declare.
        register: whether upstream would register them.
        **kwargs: versions of programs that are not used here.
    """
