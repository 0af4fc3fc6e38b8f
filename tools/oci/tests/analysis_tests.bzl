"""What the rules refuse at analysis time, what they provide, and which actions they declare.

Bazel's own analysis tests: nothing is executed, and some of them expect a target to fail.
"""

load("//tools/oci:image.bzl", "AnnotationsInfo")

_ActionsInfo = provider(doc = "The actions of a target.", fields = {"mnemonics": "list of their mnemonics"})

def _actions_aspect_impl(target, _ctx):
    return [_ActionsInfo(mnemonics = [action.mnemonic for action in target.actions])]

_actions_aspect = aspect(implementation = _actions_aspect_impl)

_allow_failures = analysis_test_transition(
    settings = {"//command_line_option:allow_analysis_failures": "True"},
)

def _result(problems):
    return [AnalysisTestResultInfo(success = not problems, message = "\n".join(problems))]

def _failure_test_impl(ctx):
    # An attribute with a transition is a list, also when it holds one target.
    target = ctx.attr.target[0]
    if AnalysisFailureInfo not in target:
        return _result(["{} was analysed, but must fail".format(target.label)])
    causes = [cause.message for cause in target[AnalysisFailureInfo].causes.to_list()]
    if [cause for cause in causes if ctx.attr.message in cause]:
        return _result([])
    return _result(["wanted: " + ctx.attr.message] + ["found: " + cause for cause in causes])

_failure_test = rule(
    implementation = _failure_test_impl,
    doc = "Passes when the target fails to analyse with the message.",
    attrs = {
        "message": attr.string(mandatory = True, doc = "What the failure must contain."),
        "target": attr.label(mandatory = True, cfg = _allow_failures),
    },
    analysis_test = True,
)

def refusal_test(name, rule, message, **kwargs):
    """Declare a target that fails to analyse, and the test `<name>_test` of its message.

    Args:
        name: the target's name.
        rule: rule or macro that declares the target.
        message: what the failure must contain.
        **kwargs: the target's attributes.
    """

    # Tagged manual, so that `//...` does not build it; the test below always runs.
    rule(name = name, tags = ["manual"], **kwargs)
    _failure_test(name = name + "_test", message = message, target = ":" + name)

def _actions_test_impl(ctx):
    found = {}
    for mnemonic in ctx.attr.target[_ActionsInfo].mnemonics:
        found[mnemonic] = found.get(mnemonic, 0) + 1
    return _result([
        "wanted {} actions {}, found {}".format(count, mnemonic, found)
        for mnemonic, count in ctx.attr.counts.items()
        if str(found.get(mnemonic, 0)) != count
    ])

actions_test = rule(
    implementation = _actions_test_impl,
    doc = "Passes when the target has this number of actions of each mnemonic.",
    attrs = {
        "counts": attr.string_dict(mandatory = True),
        "target": attr.label(mandatory = True, aspects = [_actions_aspect]),
    },
    analysis_test = True,
)

def _contract_test_impl(ctx):
    target = ctx.attr.target
    files = target[DefaultInfo].files.to_list()
    runfiles = [file.basename for file in target[DefaultInfo].default_runfiles.files.to_list()]
    digests = [file.basename for file in target[OutputGroupInfo].digest.to_list()]
    problems = ["{} is not in the runfiles {}".format(name, runfiles) for name in ctx.attr.runfiles if name not in runfiles]
    if [(file.basename, file.is_directory) for file in files] != [(target.label.name, True)]:
        problems.append("DefaultInfo must be one directory named after the target, found {}".format(files))
    if digests != [target.label.name + ".json.sha256"]:
        problems.append("output group 'digest' must be <name>.json.sha256, found {}".format(digests))
    if AnnotationsInfo in target:
        annotations = [file.basename for file in target[AnnotationsInfo].files.to_list()]
        if annotations != ctx.attr.annotations:
            problems.append("files of annotations must be {}, found {}".format(ctx.attr.annotations, annotations))
    return _result(problems)

contract_test = rule(
    implementation = _contract_test_impl,
    doc = "Passes when the target provides what upstream's images do.",
    attrs = {
        "annotations": attr.string_list(doc = "Names of the files of annotations that it provides, if any."),
        "runfiles": attr.string_list(doc = "Names of files that must be in the runfiles."),
        "target": attr.label(mandatory = True),
    },
    analysis_test = True,
)
