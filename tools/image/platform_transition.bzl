"""A transition to the platform that a rule's attribute `platform` names."""

_PLATFORMS = "//command_line_option:platforms"

def _to_platform_impl(settings, attr):
    return {_PLATFORMS: [str(attr.platform)] if attr.platform else settings[_PLATFORMS]}

to_platform = transition(
    implementation = _to_platform_impl,
    inputs = [_PLATFORMS],
    outputs = [_PLATFORMS],
)

PLATFORM_ATTRS = {
    "platform": attr.label(
        doc = "The platform to build for. Without it: the one of the build.",
        providers = [platform_common.PlatformInfo],
    ),
    "_allowlist_function_transition": attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
}
