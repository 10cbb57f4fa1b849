"""Fixture: setup.py as a module, for tests of building and of the package's description."""

import importlib.util

import pytest
from builds import ROOT


@pytest.fixture
def setup_py(monkeypatch):
    """setup.py as a module; it looks for sources relative to the checkout."""
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("minivae_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
