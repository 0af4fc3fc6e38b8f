"""`python_tool` and `python_tool_test`: a `py_binary` and a `py_test` that always run with this repository's own interpreter.

With `py_binary` it would be the interpreter of whichever Python toolchain comes first, and one that another
repository registers comes before ours: the layers would hold other bytecode, or a tool would miss a module.
"""

load("@rules_python//python:py_info.bzl", "PyInfo")
load("@rules_python//python:py_runtime_info.bzl", "PyRuntimeInfo")
load("//tools/image:launcher.bzl", "runfiles_path")

# No Python of the machine's starts first, and no other repository's root is on the path, where a package `tools`
# may lie too. The runfiles tree is the program's own, its caller's, or the one that it is in.
_LAUNCHER = """\
#!/bin/sh
set -eu
case $0 in
/*) self=$0 ;;
*) self=$PWD/$0 ;;
esac
if [ -d "$self.runfiles" ]; then
    runfiles=$self.runfiles
elif [ -n "${{RUNFILES_DIR:-}}" ]; then
    runfiles=$RUNFILES_DIR
else
    runfiles=${{self%.runfiles/*}}.runfiles
fi
case $runfiles in
/*) ;;
*) runfiles=$PWD/$runfiles ;;
esac
path=
for directory in {path}; do
    path=$path:$runfiles/$directory
done
PYTHONPATH=${{path#:}} exec "$runfiles/{python}" -P "$runfiles/{main}" "$@"
"""

def _import_root(ctx, relative):
    # As `py_library` has them. Without "..", which leads nowhere from a directory that the runfiles lack.
    parts = [ctx.label.workspace_name or ctx.workspace_name] + ctx.label.package.split("/")
    for part in relative.split("/"):
        parts = parts[:-1] if part == ".." else parts + [part]
    return "/".join(parts)

def _python_tool_impl(ctx):
    main = ctx.file.main
    if not main:
        found = [file for file in ctx.files.srcs if file.basename == ctx.label.name + ".py"]
        if len(found) != 1:
            fail("python_tool {}: 'srcs' has no {}.py; say which file is started with 'main'".format(ctx.label, ctx.label.name))
        main = found[0]
    runtime = ctx.attr._runtime[PyRuntimeInfo]
    sources = depset(ctx.files.srcs + [main], transitive = [dep[PyInfo].transitive_sources for dep in ctx.attr.deps])
    imports = depset(
        [_import_root(ctx, relative) for relative in ctx.attr.imports],
        transitive = [dep[PyInfo].imports for dep in ctx.attr.deps],
    )
    root = runfiles_path(ctx, main).partition("/")[0]
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(
        executable,
        _LAUNCHER.format(
            main = runfiles_path(ctx, main),
            path = " ".join([root] + [each for each in imports.to_list() if each != root]),
            python = runfiles_path(ctx, runtime.interpreter),
        ),
        is_executable = True,
    )
    runfiles = ctx.runfiles(
        files = ctx.files.srcs + ctx.files.data + [main, runtime.interpreter],
        transitive_files = depset(transitive = [sources, runtime.files]),
    )
    return [
        DefaultInfo(
            executable = executable,
            files = depset([executable]),
            runfiles = runfiles.merge_all([each[DefaultInfo].default_runfiles for each in ctx.attr.deps + ctx.attr.data]),
        ),
        RunEnvironmentInfo(
            environment = {name: ctx.expand_location(value, ctx.attr.data) for name, value in ctx.attr.env.items()},
        ),
        PyInfo(imports = imports, transitive_sources = sources),
    ]

_ATTRS = {
    "data": attr.label_list(allow_files = True, doc = "Files it reads."),
    "deps": attr.label_list(doc = "Its libraries.", providers = [PyInfo]),
    "env": attr.string_dict(doc = "Its environment; may use $(rootpath) of `data`."),
    "imports": attr.string_list(doc = "Further import roots, relative to the package."),
    "main": attr.label(allow_single_file = [".py"], doc = "The file that is started; by default `<name>.py`."),
    "srcs": attr.label_list(allow_files = [".py"], doc = "Its files."),
    "_runtime": attr.label(cfg = "exec", default = Label("@pinned_image_cpython//:runtime"), providers = [PyRuntimeInfo]),
}

python_tool = rule(
    implementation = _python_tool_impl,
    doc = "A Python program, run by the interpreter of @pinned_image_cpython.",
    attrs = _ATTRS,
    executable = True,
)

python_tool_test = rule(
    implementation = _python_tool_impl,
    doc = "A test that is a Python program, run by the interpreter of @pinned_image_cpython.",
    attrs = _ATTRS,
    test = True,
)
