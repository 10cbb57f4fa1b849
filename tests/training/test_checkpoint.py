"""Checkpoints: loading restores what was saved to the bit, and refuses every damaged file."""

import json
import os
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import minivae as mv
from minivae.errors import CheckpointError
from minivae.training import checkpoint


def made(seed=0, steps=2, latent_dim=2):
    """A tiny VAE and its Adam after some steps."""
    model = mv.models.MLPVAE(latent_dim=latent_dim, hidden=3, seed=seed)
    adam = mv.optim.Adam(model.parameters())
    x = np.random.default_rng(seed).random((4, 784), dtype=np.float32)
    for step in range(steps):
        adam.zero_grad()
        model.elbo(x, mv.Noise(seed, step)).loss.backward()
        adam.step()
    return model, adam


def everything(model, adam):
    """Every array of the model and optimiser that loading could change, as bytes."""
    return {
        **{n: a.tobytes() for n, a in model.state_dict().items()},
        **{n: a.tobytes() for n, a in adam.state_dict().items()},
    }


STATE = {
    "epoch": 3,
    "rate": 0.1,
    "name": "ein Lauf – π",
    "rows": [{"loss": 105.25, "ok": True}, None],
    "codes": np.arange(6.0).reshape(2, 3).T,
    "empty": np.zeros((0, 4), np.float32),
    "count": np.array(7),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of a good checkpoint."""
    path = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    mv.save(path, *made(seed=1), **STATE)
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "b.safetensors"


def test_everything_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    first, second = made(seed=1), made(seed=2, steps=5)
    mv.save(path, *first, **STATE)
    state = mv.load(path, *second)
    assert everything(*first) == everything(*second)
    assert state.keys() == STATE.keys()
    for name, value in STATE.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(state[name], value)
            assert state[name].dtype == value.dtype
        else:
            assert state[name] == value
    assert mv.load(path).keys() == STATE.keys(), "without a model the state alone is read"


def test_a_model_alone_may_be_saved_and_loaded(tmp_path):
    path = tmp_path / "a.safetensors"
    model, adam = made(seed=1)
    mv.save(path, model)
    fresh, fresh_adam = made(seed=2)
    assert mv.load(path, fresh) == {}
    assert fresh.state_dict().keys() == model.state_dict().keys()
    np.testing.assert_array_equal(fresh.fc4.weight.data, model.fc4.weight.data)
    before = everything(fresh, fresh_adam)
    with pytest.raises(CheckpointError, match=r"optimizer: state: group_sizes: missing"):
        mv.load(path, fresh, fresh_adam)
    assert everything(fresh, fresh_adam) == before
    mv.save(path, model, adam)
    mv.load(path, fresh)  # the optimiser's state in the file is ignored


def test_buffers_of_batch_norm_are_kept(tmp_path):
    path = tmp_path / "a.safetensors"
    one, two = (mv.models.FaceVAE(latent_dim=2, image_size=16, seed=s) for s in (1, 2))
    one.encoder.batch2.running_mean[...] = 5
    one.encoder.batch2.num_batches_tracked[...] = 9
    mv.save(path, one)
    mv.load(path, two)
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(two.state_dict()[name], array)


def test_the_same_state_gives_the_same_bytes(tmp_path, saved):
    path = tmp_path / "z.safetensors"
    mv.save(path, *made(seed=1), **dict(reversed(STATE.items())))
    assert path.read_bytes() == saved


def test_the_file_is_plain_safetensors(tmp_path, saved):
    tensors = safetensors.numpy.load(saved)
    model, _ = made(seed=1)
    np.testing.assert_array_equal(tensors["model.fc21.bias"], model.fc21.bias.data)
    assert {"optimizer.0.m", "optimizer.9.v", "optimizer.0.step", "state.codes"} <= tensors.keys()
    assert tensors["optimizer.group.lr"].tolist() == [1e-3]


def refused(path, match=None):
    """Loading raises CheckpointError, and the model and optimiser are untouched."""
    target = made(seed=4)
    before = everything(*target)
    with pytest.raises(CheckpointError, match=match) as caught:
        mv.load(path, *target)
    assert str(path) in str(caught.value)
    assert everything(*target) == before


@given(st.data())
def test_a_truncated_file_is_refused(saved, scratch, data):
    scratch.write_bytes(saved[: data.draw(st.integers(0, len(saved) - 1))])
    refused(scratch)


@given(st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing(saved, scratch, data):
    header_end = 8 + struct.unpack("<Q", saved[:8])[0]
    place = st.integers(0, header_end) | st.integers(0, len(saved) - 1)
    body = bytearray(saved)
    body[data.draw(place)] ^= 1 << data.draw(st.integers(0, 7))
    scratch.write_bytes(body)
    target, good = made(seed=4), made(seed=1)
    before = everything(*target)
    try:
        state = mv.load(scratch, *target)
    except CheckpointError:
        assert everything(*target) == before
    else:  # the bit was in the padding of the header
        assert everything(*target) == everything(*good)
        assert state["rows"] == STATE["rows"]


@given(st.binary(max_size=200))
def test_noise_is_refused(scratch, body):
    scratch.write_bytes(body)
    refused(scratch)


def test_a_huge_header_is_refused(scratch, saved):
    for length in (2**63, 2**40, len(saved), 10**8 + 1):
        scratch.write_bytes(struct.pack("<Q", length) + saved[8:])
        refused(scratch)


def test_what_is_not_a_file_is_refused(tmp_path):
    refused(tmp_path / "missing", match="no such file")
    refused(tmp_path, match="not a regular file")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    refused(tmp_path / "pipe", match="not a regular file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop")


def forged(path, tensors, text="{}", **header):
    """Write a file with a right checksum and any content."""
    sha = checkpoint._digest(text, tensors)
    text = json.dumps({"sha256": sha, "state": text, **header})
    path.write_bytes(safetensors.numpy.save(tensors, {checkpoint.FORMAT: text}))


def contents(model, adam):
    return {
        **{f"model.{n}": a for n, a in model.state_dict().items()},
        **{f"optimizer.{n}": a for n, a in adam.state_dict().items()},
    }


def test_a_forged_good_file_loads(scratch):
    """A forged file loads if its content is right; each test below changes one thing in it."""
    forged(scratch, contents(*made(seed=1)))
    assert mv.load(scratch, *made(seed=4)) == {}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.fc1.bias", None, r"model\.fc1\.bias: missing"),
        ("optimizer.3.v", None, r"optimizer: state: 3\.v: missing"),
        ("optimizer.group.eps", None, r"optimizer: state: group\.eps: missing"),
        ("model.fc9.bias", np.zeros(3, np.float32), r"fc9\.bias: the model has nothing of"),
        ("optimizer.x", np.zeros(3, np.float32), r"optimizer: state: unknown names \['x'\]"),
        ("optimizer.10.m", np.zeros(3, np.float32), r"optimizer: state: unknown names \['10\.m'\]"),
        ("model.fc1.bias", np.zeros(4, np.float32), r"fc1\.bias: expected float32 \(3,\), got"),
        ("model.fc1.bias", np.zeros(3), r"fc1\.bias: expected float32 \(3,\), got float64"),
        ("model.fc1.bias", np.zeros(3, np.int32), r"fc1\.bias: expected float32"),
        ("model.fc3.bias", np.array([0, np.nan, 0], np.float32), r"fc3\.bias holds NaN"),
        ("model.fc3.bias", np.array([0, -np.inf, 0], np.float32), r"fc3\.bias holds NaN"),
        ("optimizer.2.m", "nan", r"optimizer\.2\.m holds NaN"),
        ("optimizer.2.m", np.zeros(3, np.float32), r"state: 2\.m: expected float32 \(2, 3\)"),
        ("optimizer.0.step", np.zeros((), np.int32), r"state: 0\.step: expected int64"),
        ("optimizer.0.step", np.array(-1), r"state: 0\.step: expected at least 0, got -1"),
        ("optimizer.group.lr", np.array([-1.0]), r"optimizer: lr: expected a number"),
        ("optimizer.group.lr", np.array([1.0, 1.0]), r"group\.lr: expected float64 \(1,\)"),
        ("optimizer.group_sizes", np.array([9]), r"groups of \[.*\] parameters, got \[9\]"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(scratch, name, change, message):
    tensors = contents(*made(seed=1))
    if change is None:
        del tensors[name]
    elif isinstance(change, str):
        tensors[name][1] = np.nan
    else:
        tensors[name] = change
    forged(scratch, tensors)
    refused(scratch, match=message)


@pytest.mark.parametrize("state", ["[" * 100_000, "3", "{", "9" * 5000])
def test_a_state_that_is_no_object_is_refused(scratch, state):
    forged(scratch, contents(*made(seed=1)), state)
    refused(scratch)


@pytest.mark.parametrize("header", [{"sha256": None}, {"sha256": "0" * 64}, {"state": 5}])
def test_a_wrong_checksum_is_refused(scratch, header):
    forged(scratch, contents(*made(seed=1)), **header)
    refused(scratch)


def test_other_safetensors_files_are_refused(scratch):
    tensors = contents(*made(seed=1))
    scratch.write_bytes(safetensors.numpy.save(tensors))
    refused(scratch, match="not a checkpoint of minivae")
    scratch.write_bytes(safetensors.numpy.save(tensors, {checkpoint.FORMAT: "[]"}))
    refused(scratch)


def test_dtypes_that_numpy_lacks_are_refused(scratch):
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    scratch.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    refused(scratch, match="a: expected numbers that NumPy has, got BF16")


def test_arguments_in_pytorch_s_order_are_named(tmp_path):
    model, _ = made()
    path = tmp_path / "a"
    for call in (mv.save, mv.load):
        with pytest.raises(TypeError, match="path: expected a path, got dict; path comes first"):
            call(model.state_dict(), path)
        with pytest.raises(TypeError, match="path: expected a path, got MLPVAE"):
            call(model, path)
        with pytest.raises(TypeError, match=r"model: expected a module .* got dict"):
            call(path, model.state_dict())
        with pytest.raises(TypeError, match=r"optimizer: expected a module .* got int"):
            call(path, model, 3)
    assert not path.exists()


@pytest.mark.parametrize("spoil", ["weight", "moment"])
def test_what_would_not_load_is_not_saved(tmp_path, saved, spoil):
    path = tmp_path / "a.safetensors"
    path.write_bytes(saved)
    model, adam = made()
    v = adam.state[model.fc3.bias]["v"]
    (model.fc3.bias.data if spoil == "weight" else v)[1] = np.nan
    named = r"model\.fc3\.bias" if spoil == "weight" else r"optimizer\.7\.v"
    with pytest.raises(CheckpointError, match=f"{named} holds NaN"):
        mv.save(path, model, adam)
    assert path.read_bytes() == saved


@pytest.mark.parametrize(
    "value",
    [{1, 2}, float("nan"), np.float32("nan"), b"x", {"a": np.zeros(2)}, np.zeros(2, complex),
     np.array(["a"]), np.array([None])],
    ids=repr,
)  # fmt: skip
def test_state_that_cannot_be_kept_is_named(tmp_path, value):
    with pytest.raises((TypeError, ValueError), match="odd"):
        mv.save(tmp_path / "a.safetensors", *made(), odd=value)
    assert os.listdir(tmp_path) == []


def test_numpys_numbers_are_kept_as_pythons(tmp_path):
    path = tmp_path / "a.safetensors"
    mv.save(path, *made(), rate=np.float32(0.5), rows=[{"n": np.int64(3), "ok": np.bool_(True)}])
    assert mv.load(path) == {"rate": 0.5, "rows": [{"n": 3, "ok": True}]}


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="none/a: cannot be written"):
        mv.save(tmp_path / "none/a", *made())


def test_pytorch_reads_the_weights_and_writes_them(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    model, _ = made(seed=1)
    mv.save(tmp_path / "a.safetensors", model)
    theirs = safetensors_torch.load_file(tmp_path / "a.safetensors")
    layer = torch.nn.Linear(784, 3)
    layer.load_state_dict({n: theirs[f"model.fc1.{n}"] for n in ("weight", "bias")})
    np.testing.assert_array_equal(layer.weight.detach().numpy(), model.fc1.weight.data)
    fresh, _ = made(seed=2)
    fresh.fc1.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(fresh.fc1.weight.data, model.fc1.weight.data)
