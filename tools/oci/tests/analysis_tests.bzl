"""What the rules refuse while Bazel analyses a build, what they promise, and which actions they make.

Bazel's own analysis tests: nothing is executed, and a failure of the target is what some of them want.
"""

_Actions = provider(doc = "What a target does.", fields = {"mnemonics": "list of its actions' mnemonics"})

def _actions_aspect_impl(target, _ctx):
    return [_Actions(mnemonics = [action.mnemonic for action in target.actions])]

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
        return _result(["{} can be analysed, but must not be".format(target.label)])
    causes = [cause.message for cause in target[AnalysisFailureInfo].causes.to_list()]
    if [cause for cause in causes if ctx.attr.message in cause]:
        return _result([])
    return _result(["wanted: " + ctx.attr.message] + ["found: " + cause for cause in causes])

_failure_test = rule(
    implementation = _failure_test_impl,
    doc = "Passes when the target cannot be analysed, for the reason given.",
    attrs = {
        "message": attr.string(mandatory = True, doc = "What the failure must contain."),
        "target": attr.label(mandatory = True, cfg = _allow_failures),
    },
    analysis_test = True,
)

def refusal_test(name, rule, message, **kwargs):
    """A target that cannot be analysed, and the test `<name>_test` that says how it fails.

    Args:
        name: the target's name.
        rule: rule or macro that declares the target.
        message: what the failure must contain.
        **kwargs: the target's attributes.
    """

    # It must fail, so `//...` must not build it; the test below always runs and says how it fails.
    rule(name = name, tags = ["manual"], **kwargs)
    _failure_test(name = name + "_test", message = message, target = ":" + name)

def _actions_test_impl(ctx):
    found = {}
    for mnemonic in ctx.attr.target[_Actions].mnemonics:
        found[mnemonic] = found.get(mnemonic, 0) + 1
    return _result([
        "wanted {} actions {}, found {}".format(count, mnemonic, found)
        for mnemonic, count in ctx.attr.counts.items()
        if str(found.get(mnemonic, 0)) != count
    ])

actions_test = rule(
    implementation = _actions_test_impl,
    doc = "Passes when the target has so many actions of each mnemonic.",
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
    return _result(problems)

contract_test = rule(
    implementation = _contract_test_impl,
    doc = "Passes when the target gives other rules what upstream's images give them.",
    attrs = {
        "runfiles": attr.string_list(doc = "Names of files that must be in the runfiles."),
        "target": attr.label(mandatory = True),
    },
    analysis_test = True,
)
