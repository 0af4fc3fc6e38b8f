"""What BUILD files load from here: where an image's bytes are, and a test that the report is true."""

load("//tools/proof:proof_test.bzl", "proof_test")
load(":image_size_report.bzl", _image_size_report = "image_size_report")

image_size_report = _image_size_report

def image_size_report_test(
        name,
        report,
        image,
        debian_lock,
        debian_intent,
        python_lock,
        python_intent,
        **kwargs):
    """Hold an image_size_report against the image and the locks: every byte once, every chain true.

    Args:
      name: name of the test.
      report: an image_size_report.
      image: the OCI layout it is about.
      debian_lock: what the report was made from, as the next three.
      debian_intent: the same.
      python_lock: the same.
      python_intent: the same.
      **kwargs: further attributes of the test.
    """

    # A part of the test, which builds it.
    native.filegroup(
        name = name + "_json",
        srcs = [report],
        output_group = "json",
        tags = ["manual"],
    )
    proof_test(
        name,
        tool = Label(":check"),
        image = image,
        files = {
            "--debian-intent": debian_intent,
            "--debian-lock": debian_lock,
            "--python-intent": python_intent,
            "--python-lock": python_lock,
            "--report": ":" + name + "_json",
        },
        **kwargs
    )
