"""golden_layers: the digests of layers stand in a file beside the locks, and a test compares them."""

load("//tools:python_tool.bzl", "python_tool", "python_tool_test")
load("//tools/apt:debian_lock.bzl", "run_command", "workspace_path")

def golden_layers(name, golden, images, layer_policy, without = [], **kwargs):
    """Hold the layers of images to the digests in a file.

    `<name>_test` names each layer that differs and the first path in it; `bazel run :<name>` writes the file.

    Args:
      name: name of the program that writes.
      golden: the file, in this repository; it must exist, if only as `{}`.
      images: OCI layouts, of one or more architectures; layers of one name are the same in all of one.
      layer_policy: the `layer_policy` that the layers are made with.
      without: names of layers that are left out, such as the application's.
      **kwargs: further attributes of both targets.
    """
    args = ["--golden=" + workspace_path(golden), "--command=" + run_command(name)] + \
           ["--policy=$(rootpath {})".format(layer_policy)] + \
           ["--image=$(rootpath {})".format(image) for image in images] + \
           ["--without=" + layer for layer in without]
    common = {
        "args": args,
        "data": [golden, layer_policy] + images,
        "main": Label(":golden.py"),
        "srcs": [Label(":golden.py")],
        "deps": [Label(":golden")],
    } | kwargs
    python_tool(name = name, **(common | {"args": args + ["--write"]}))
    python_tool_test(name = name + "_test", size = "small", **common)
