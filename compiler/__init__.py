"""From one reviewed YAML file to everything that each node of an Ascend cluster needs."""

# A literal: importlib.metadata would cost more than all else that `--version` does.
__version__ = "0.1.0"
