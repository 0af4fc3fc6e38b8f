"""The Bazel rulesets, each from a pinned Debian package.

Bazel declares some of these names itself, before or after the WORKSPACE file, with addresses that this build may
not ask; declaring them here is what keeps it from doing so.
"""

load("//tools/apt:repositories.bzl", "deb_archive")

# repository: (package, directory in it)
_RULESETS = {
    "bazel_features": ("bazel-features", "usr/share/bazel/tools/features"),
    "bazel_skylib": ("bazel-skylib", "usr/share/bazel/tools/skylib"),
    "platforms": ("bazel-platforms", "usr/share/bazel/tools/platforms"),
    "rules_cc": ("bazel-rules-cc", "usr/share/bazel/rules/cc"),
    "rules_java": ("bazel-rules-java", "usr/share/bazel/rules/java"),
    "rules_java_builtin": ("bazel-rules-java", "usr/share/bazel/rules/java"),
    "rules_license": ("bazel-rules-license", "usr/share/bazel/rules/license"),
    "rules_proto": ("bazel-rules-proto", "usr/share/bazel/rules/proto"),
    "rules_python": ("bazel-rules-python", "usr/share/bazel/rules/python"),
}

def rulesets(names = _RULESETS.keys()):
    """Declare a repository for each ruleset.

    Args:
      names: which ones; by default all.
    """
    for name in names:
        package, directory = _RULESETS[name]
        deb_archive(
            name = name,
            lock = Label(":root.lock.json"),
            package = package,
            strip_prefix = directory,
        )
