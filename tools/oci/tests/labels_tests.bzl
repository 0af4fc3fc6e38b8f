"""Labels as a publisher's build has them: with flags on its command line."""

def _flags_impl(_settings, attr):
    return {"//tools/oci:revision": attr.revision, "//tools/oci:version": attr.version}

_flags = transition(
    implementation = _flags_impl,
    inputs = [],
    outputs = ["//tools/oci:revision", "//tools/oci:version"],
)

def _stamped_impl(ctx):
    return [DefaultInfo(files = depset(ctx.files.labels))]

stamped = rule(
    implementation = _stamped_impl,
    doc = "The file of `labels`, built with these values of the flags.",
    attrs = {
        "labels": attr.label(cfg = _flags, mandatory = True),
        "revision": attr.string(),
        "version": attr.string(),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)
