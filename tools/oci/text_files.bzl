"""Lists and dictionaries passed to a macro → the text files that its rule takes."""

load("@bazel_skylib//rules:write_file.bzl", "write_file")

# How rules_oci writes a newline inside an argument; edits.py reads it back.
_NEWLINE = "%5Cn"

def arguments_file(name, attribute, value, **common):
    """Return a label for `value`: the caller's own, or that of a file with one argument a line.

    Args:
        name: the macro's name.
        attribute: the attribute's name.
        value: None, a label or a list of strings.
        **common: common attributes of the helper target.

    Returns:
        None or a label.
    """
    if type(value) != "list":
        return value
    for argument in value:
        _check_end(name, attribute, argument)
    lines = [argument.replace("\n", _NEWLINE) for argument in value]
    return _file(name, attribute, [line + "\n" for line in lines], **common)

def set_file(name, attribute, value, **common):
    """As arguments_file, for a list whose members are separated by commas.

    Args:
        name: the macro's name.
        attribute: the attribute's name.
        value: None, a label or a list of strings.
        **common: common attributes of the helper target.

    Returns:
        None or a label.
    """
    if type(value) != "list":
        return value
    for member in value:
        if [character for character in [",", "\n", "\r"] if character in member]:
            fail("{}: {} must not contain a comma or a newline, found {}".format(
                name,
                attribute,
                repr(member),
            ))
    return _file(name, attribute, [",".join(value)], **common)

def pairs_file(name, attribute, value, **common):
    """As arguments_file, for a dictionary: one `key=value` a line, in the caller's order.

    Args:
        name: the macro's name.
        attribute: the attribute's name.
        value: None, a label or a dictionary of strings.
        **common: common attributes of the helper target.

    Returns:
        None or a label.
    """
    if type(value) != "dict":
        return value
    return _file(name, attribute, pairs_lines(name, attribute, value), **common)

def pairs_lines(name, attribute, value):
    """Return the lines of a dictionary of strings; fail for one that cannot be a line.

    Args:
        name: the target's name.
        attribute: the attribute's name.
        value: a dictionary of strings.

    Returns:
        A list of `key=value` lines, in the caller's order.
    """
    for key, text in value.items():
        if not key or "=" in key or "\n" in key + text:
            fail("{}: {} must not have a newline, an empty key or '=' in a key, found {}".format(
                name,
                attribute,
                repr({key: text}),
            ))
        _check_end(name, attribute, text)
    return ["{}={}\n".format(key, text) for key, text in value.items()]

def tags_file(name, attribute, value, **common):
    """As arguments_file, for a list of names, one a line."""
    if type(value) != "list":
        return value
    return _file(name, attribute, [line + "\n" for line in value], **common)

def common_attributes(kwargs):
    """Return those of `kwargs` that helper targets share with the macro's main target.

    Args:
        kwargs: attributes passed to the macro.

    Returns:
        A dictionary.
    """
    kept = ["compatible_with", "deprecation", "exec_compatible_with", "restricted_to", "features"]
    kept += ["target_compatible_with", "testonly", "visibility"]
    common = {key: kwargs[key] for key in kept if key in kwargs}
    common["tags"] = kwargs.get("tags", []) + ["manual"]
    return common

def _check_end(name, attribute, value):
    """Fail for a value that would end its line as in a file of Windows, and so lose its end."""
    if value.endswith("\r"):
        fail("{}: {} must not end with a carriage return, found {}".format(name, attribute, repr(value)))

def _file(name, attribute, lines, **common):
    target = "{}_write_{}".format(name, attribute)
    write_file(
        name = target,
        out = "{}.{}.txt".format(name, attribute),
        content = ["".join(lines)],
        **common
    )
    return ":" + target
