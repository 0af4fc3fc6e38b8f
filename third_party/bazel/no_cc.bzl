"""The configuration of a C++ toolchain that compiles nothing."""

def _no_cc_config_impl(ctx):
    # Debian's rules_cc has nothing to load this from. buildifier: disable=native-cc-common
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        compiler = "none",
        host_system_name = "local",
        target_cpu = "none",
        target_libc = "none",
        target_system_name = "local",
        toolchain_identifier = "no_cc",
    )

no_cc_config = rule(
    implementation = _no_cc_config_impl,
    provides = [CcToolchainConfigInfo],
)
