"""`proof_test`: a test that is one program, run on an image and files that say what to expect."""

load("//tools:python_tool.bzl", "python_tool_test")

def proof_test(name, tool, image, allowlist = [], files = {}, args = [], **kwargs):
    """Run a proof.

    Args:
      name: name of the test.
      tool: Label of the proof's py_library; its main file has the same name.
      image: an OCI layout.
      allowlist: YAML lists of allowed findings.
      files: flag to label, for the files that the proof reads.
      args: further flags.
      **kwargs: further attributes of the test.
    """
    main = tool.relative(":{}.py".format(tool.name))
    python_tool_test(
        name = name,
        srcs = [main],
        main = main,
        args = ["--image", "$(rootpath {})".format(image)] +
               ["--allowlist=$(rootpath {})".format(each) for each in allowlist] +
               ["{}=$(rootpath {})".format(flag, file) for flag, file in files.items()] + args,
        data = [image] + allowlist + files.values(),
        deps = [tool],
        **kwargs
    )
