"""A browser, short trainings and their pages, for the tests of the explorer."""

from dataclasses import replace
from pathlib import Path

import faces_vae
import mnist_vae
import pytest
from browser_page import CHROMIUM, Opened, drawn_faces

from minivae import explore
from minivae.cli.explore import loaded
from minivae.training import metrics


@pytest.fixture(scope="session")
def browser():
    from playwright import sync_api  # found by the tests that want a browser

    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """``trained(name)``: the output folder of a short training, made once."""
    root, made = tmp_path_factory.mktemp("trained"), {}
    options = {
        "mlp": (mnist_vae, ["--epochs", "5"]),
        "conv": (
            mnist_vae,
            ["--model", "conv", "--epochs", "2", "--limit", "6000", "--lr", "3e-3"],
        ),
        "face": (
            faces_vae,
            ["--epochs", "2", "--synthetic", "300", "--data", str(root / "faces.npz")],
        ),
    }

    def run(name):
        if name not in made:
            example, words = options[name]
            if name == "face":
                drawn_faces(root / "faces.npz")
            assert example.main([*words, "--no-plots", "--out", str(root / name)]) == 0
            made[name] = root / name
        return made[name]

    return run


@pytest.fixture(scope="session")
def subject(trained):
    """``subject(name)``: model and images of a run, loaded in Python."""

    def load(name):
        folder = trained(name)
        data = folder.parent / "faces.npz" if name == "face" else None
        found, config = loaded(folder / "checkpoint.safetensors", data)
        return found._replace(data=replace(found.data, public=True)), config, metrics.read(folder)

    return load


@pytest.fixture(scope="session")
def page_file(subject, tmp_path_factory):
    """``page_file(name)``: the page of a run."""
    root, made = tmp_path_factory.mktemp("pages"), {}

    def write(name):
        if name not in made:
            made[name] = root / f"{name}.html"
            made[name].write_bytes(explore.explorer_page(*subject(name)))
        return made[name]

    return write


@pytest.fixture
def opened(browser, page_file):
    """``opened(name, ...)``: an ``Opened`` page from its file; a logged error fails the test."""
    pages = []

    def open_page(name, **options):
        address = name.as_uri() if isinstance(name, Path) else page_file(name).as_uri()
        pages.append(Opened(browser, address, **options))
        return pages[-1]

    yield open_page
    for one in pages:
        one.context.close()
        assert one.complaints == []
