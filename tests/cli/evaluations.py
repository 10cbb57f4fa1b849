"""Checkpoints for tests of evaluation: from short runs of the examples, and untrained ones."""

import importlib.util
from pathlib import Path

import minivae as mv

EXAMPLES = Path(__file__).parents[2] / "examples"


def load_example(script):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(script, EXAMPLES / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(folder, script, *options):
    """The checkpoint of an example's short run."""
    module = load_example(script)
    words = ["--out", folder, "--epochs", 1, "--no-plots", *options]
    assert module.main([str(word) for word in words]) == 0
    return folder / "checkpoint.safetensors"


def saved(path, model, **config):
    """A checkpoint with untrained weights."""
    architecture = {"name": type(model).__name__, **model.config()}
    mv.save(path, model, config={"architecture": architecture, **config})
    return path
