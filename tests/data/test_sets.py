"""Every kind of data set is registered in SETS and reloads the exact images and split of a run."""

import importlib
import pkgutil
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import digit_sets
import minivae.data
from minivae import DataError
from minivae.data import Dataset, draw_faces, load_faces, mnist, reload, sets, split_faces
from minivae.data.synthetic import digits as synthetic_digits

SHAPES = {"digits": [(784,), (1, 28, 28)], "faces": [(3, 16, 16)]}


def modules_of_sets():
    """The modules of minivae.data that load a set again."""
    names = [info.name for info in pkgutil.iter_modules(minivae.data.__path__)]
    modules = [importlib.import_module(f"minivae.data.{name}") for name in names]
    return [module for module in modules if hasattr(module, "load_again")]


def test_every_kind_of_set_is_named():
    """SETS lists exactly the modules of minivae.data that can reload a set."""
    assert {m.__name__ for m in sets.SETS.values()} == {m.__name__ for m in modules_of_sets()}
    for kind in sets.SETS.values():
        assert callable(kind.serves) and callable(kind.load_again)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """No data anywhere, and small drawn sets."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    draw = synthetic_digits.load
    monkeypatch.setattr(synthetic_digits, "load", lambda: draw(30, 20))
    load = mnist.load
    monkeypatch.setattr(mnist, "load", lambda folder=None: load(folder, download=False))


def picture_folder(path, count=20, seed=0):
    path.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, (20, 18, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / f"{i:02d}.png")
    return path


def npz_with_people(path, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    np.savez(path, images=images, identity=np.arange(30) // 3, smile=rng.random(30) < 0.5)
    return path


CASES = {  # name -> (make the source in a folder, load it as a run does)
    "digits in a folder": (
        lambda folder: digit_sets.write(folder / "d", synthetic_digits.load()),
        lambda source: mnist.load(source),
    ),
    "limited digits": (
        lambda folder: digit_sets.write(folder / "d", synthetic_digits.load()),
        lambda source: mnist.load(source).limited(7),
    ),
    "drawn digits": (lambda folder: None, lambda source: mnist.load(source)),
    "pictures in a folder": (
        lambda folder: picture_folder(folder / "faces"),
        lambda source: split_faces(load_faces(source, 16, progress=False), seed=3),
    ),
    "people in an .npz": (
        lambda folder: npz_with_people(folder / "f.npz"),
        lambda source: split_faces(load_faces(source, 16), seed=1, limit=5),
    ),
    "drawn faces": (
        lambda folder: None,
        lambda source: split_faces(load_faces(source, 16, synthetic_count=44), seed=2),
    ),
}


def shapes_of(found):
    return SHAPES[found.split["set"]]


def assert_same(found, expected):
    assert found.record() == expected.record()
    assert found.labels == expected.labels
    for part in ("train", "test"):
        a, b = getattr(found, part), getattr(expected, part)
        np.testing.assert_array_equal(a.images, b.images)
        for name in found.labels:
            np.testing.assert_array_equal(a.labels[name], b.labels[name])


@pytest.mark.parametrize("case", CASES)
def test_the_very_images_and_split_come_again(tmp_path, capsys, case):
    make, load = CASES[case]
    source = make(tmp_path)
    run = load(source)
    assert isinstance(run, Dataset) and run.split["set"] in sets.SETS
    assert_same(reload(run.record(), source, shapes=shapes_of(run)), run)


def test_a_set_that_was_drawn_is_drawn_again_wherever_data_are(tmp_path, monkeypatch):
    """A run on drawn data reloads drawn data, even if $MINIVAE_DATA now names real data."""
    drawn = CASES["drawn faces"][1](None), mnist.load()
    (tmp_path / "data" / "faces").mkdir(parents=True)
    npz_with_people(tmp_path / "data" / "faces" / "celeba64.npz")
    digit_sets.write(tmp_path / "data" / "mnist", synthetic_digits.load())
    monkeypatch.setenv("MINIVAE_DATA", str(tmp_path / "data"))
    for run in drawn:
        assert_same(reload(run.record(), shapes=shapes_of(run)), run)
        with pytest.raises(DataError, match="expected pixels of SHA-256"):
            reload({**run.record(), "pixels": "0"}, tmp_path / "data", shapes=shapes_of(run))


@pytest.mark.parametrize("case", ["pictures in a folder", "people in an .npz"])
def test_other_pictures_under_the_same_names_are_refused(tmp_path, case):
    make, load = CASES[case]
    source = make(tmp_path)
    record = load(source).record()
    if source.is_dir():
        shutil.rmtree(source)
        picture_folder(source, seed=1)
    else:
        npz_with_people(source, seed=1)
    with pytest.raises(DataError, match=r"but the data are f.*expected pixels of SHA-256"):
        reload(record, source, shapes=[(3, 16, 16)])
    assert reload(record, source, shapes=[(3, 16, 16)], other=True).pixels != record["pixels"]


def test_the_same_pictures_under_another_name_are_the_same(tmp_path):
    source = picture_folder(tmp_path / "faces")
    run = split_faces(load_faces(source, 16, progress=False))
    source.rename(tmp_path / "renamed")
    found = reload(run.record(), tmp_path / "renamed", shapes=[(3, 16, 16)])
    assert found.pixels == run.pixels and found.name == "renamed"


def test_one_picture_more_is_another_set(tmp_path):
    """With one more picture the split would change, and training pictures would be tested on."""
    source = picture_folder(tmp_path / "faces")
    run = split_faces(load_faces(source, 16, progress=False))
    shutil.copy(source / "00.png", source / "99.png")
    with pytest.raises(DataError, match="expected pixels of SHA-256"):
        reload(run.record(), source, shapes=[(3, 16, 16)])


@pytest.mark.parametrize("count", [40, 100, 400])
def test_no_held_out_face_was_trained_on(count):
    """The held-out faces of a run are held out again, for any number of drawn faces."""
    run = split_faces(draw_faces(count, 16, progress=False))
    found = reload(run.record(), shapes=[(3, 16, 16)])
    trained = {image.tobytes() for image in run.train.images}
    assert len(found.test.images) == round(0.1 * count)
    assert not trained & {image.tobytes() for image in found.test.images}


def test_a_checkpoint_that_no_run_wrote_takes_what_serves_its_model(tmp_path):
    source = npz_with_people(tmp_path / "f.npz")
    assert reload({}, source, shapes=[(3, 16, 16)]).name == "f"
    assert reload({}, shapes=[(784,)]).name == "synthetic-digits"
    with pytest.raises(DataError, match=r"no data set has images of shape \(1, 16, 16\)"):
        reload({}, source, shapes=[(1, 16, 16)])


def test_names_alone_are_trusted_only_where_they_stand_for_the_bytes(tmp_path):
    """Checkpoints of version 0.1 record a name without a hash of the pixels."""
    source = npz_with_people(tmp_path / "f.npz")
    with pytest.raises(DataError, match="a set called f, without a hash of its pixels"):
        reload({"data": "f", "seed": 0}, source, shapes=[(3, 16, 16)])
    assert reload({"data": "f"}, source, shapes=[(3, 16, 16)], other=True).name == "f"
    assert reload({"data": "synthetic-digits"}, shapes=[(784,)]).public
    drawn = {"data": "synthetic-faces", "seed": 0, "faces": 3600}
    with pytest.raises(DataError, match="expected 3600 images in the train part, got 27"):
        reload({**drawn, "count": 30}, shapes=[(3, 16, 16)])
    assert reload({**drawn, "count": 30, "faces": 27}, shapes=[(3, 16, 16)]).public


def test_a_record_of_another_kind_does_not_choose_for_the_model(tmp_path):
    digits = mnist.load().record()
    with pytest.raises(DataError, match="no data set has images of shape"):
        reload(digits, shapes=[(3, 16, 16)])


json_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([])
)


@given(
    record=st.fixed_dictionaries(
        {},
        optional={
            "data": json_values | st.sampled_from(["synthetic-faces", "f"]),
            "pixels": json_values,
            "seed": json_values,
            "limit": json_values,
            "split": json_values
            | st.fixed_dictionaries(
                {},
                optional={
                    "set": json_values | st.sampled_from(["digits", "faces"]),
                    "count": json_values.filter(lambda n: not isinstance(n, int) or n < 50),
                    "seed": json_values,
                    "limit": json_values,
                    "train": json_values,
                },
            ),
        },
    )
)
def test_whatever_a_file_says_is_a_set_or_a_data_error(scratch, record):
    for other in (True, False):
        try:
            found = reload(record, scratch, shapes=[(3, 16, 16)], other=other)
        except DataError:
            continue
        assert found.name == "f"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return npz_with_people(tmp_path_factory.mktemp("sets") / "f.npz")


def test_what_memory_cannot_hold_is_refused_before_it_is_drawn():
    run = {"data": "synthetic-faces", "split": {"set": "faces", "count": 1 << 40}}
    with pytest.raises(DataError, match="count: expected a whole number from 0 to 5592405"):
        reload(run, shapes=[(3, 16, 16)])


def test_replaced_names_do_not_make_a_set_public(tmp_path):
    """A folder with the name of a public set is not public, so its pictures are not shown."""
    source = picture_folder(tmp_path / "synthetic-faces")
    found = split_faces(load_faces(source, 16, progress=False))
    assert found.name == "synthetic-faces" and not found.public
    assert not reload(found.record(), source, shapes=[(3, 16, 16)]).public
