"""Operator commands, run inside the image, for example `python3 -m app.cli.keys list`."""
