"""The rulesets as an extension of its own: `service` loads rules_python, so it cannot declare it."""

load("//third_party/bazel:rulesets.bzl", "rulesets")
load("//tools/apt:repositories.bzl", "apt_mirrors")
load(":facades.bzl", "facades")
load(":suite.bzl", "debian_suite")

# What Bazel's own modules bring is left to them: platforms, rules_cc, rules_java and so on.
_RULESETS = ["bazel_skylib", "rules_license", "rules_python"]

def _rulesets_impl(_ctx):
    apt_mirrors(name = "pinned_image_mirrors")
    debian_suite(name = "pinned_image_suite")
    rulesets(_RULESETS)
    facades()

# buildifier: disable=unnamed-macro
pinned_rulesets = module_extension(implementation = _rulesets_impl, doc = "Mirrors, the suite, rulesets and façades.")
