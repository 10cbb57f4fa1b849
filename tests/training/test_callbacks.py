"""Callbacks of ``Trainer``, and ``TensorBoardWriter``: its file read back byte by byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny_run
from event_file import bitwise_crc32c, decoded, records, scalars
from minivae.errors import OutputError
from minivae.training import checkpoint, metrics, tensorboard
from minivae.training.output_folder import OutputFolder


def test_callbacks_are_called_with_each_row_after_it_is_saved(tmp_path):
    seen = []

    def callback(row):
        saved = checkpoint.load(tmp_path / "checkpoint.safetensors")
        seen.append((row["epoch"], saved["epoch"], dict(row)))

    tiny_run.run(tmp_path, epochs=2, callbacks=[callback])
    assert [(epoch, saved) for epoch, saved, _ in seen] == [(1, 1), (2, 2)]
    for (_, _, row), written in zip(seen, tiny_run.table(tmp_path), strict=True):
        assert set(row) == set(metrics.COLUMNS)
        assert row["seconds"] == pytest.approx(float(written["seconds"]), abs=1e-3)


def run_with_events(folder, **options):
    with OutputFolder(folder) as out:
        made = tiny_run.trainer(out, callbacks=[tensorboard.TensorBoardWriter(out)], **options)
        made.resume()
        made.run()
    return records(folder / tensorboard.EVENTS)


@pytest.mark.slow
def test_tensorboard_has_the_rows_as_scalars(tmp_path):
    head, *events = run_with_events(tmp_path, epochs=300)
    assert dict(decoded(head))[3] == b"brain.Event:2"
    table = tiny_run.table(tmp_path)
    for (step, found), row in zip(map(scalars, events), table, strict=True):
        assert step == int(row["step"]) and set(found) == {
            "loss/train", "rec/train", "kl/train", "loss/test", "rec/test", "kl/test",
            "active_units", "seconds",
        }  # fmt: skip
        assert found["loss/test"] == pytest.approx(float(row["test_loss"]), rel=1e-7)
    assert len(run_with_events(tmp_path, epochs=302)) == 303, "a resumed run goes on"
    (tmp_path / "checkpoint.safetensors").unlink()
    (tmp_path / "backup.safetensors").unlink()
    assert len(run_with_events(tmp_path, epochs=1)) == 2, "a new one begins anew"


def test_tensorboard_of_a_resumed_run_has_the_epochs_before(tmp_path):
    tiny_run.run(tmp_path, epochs=2)
    head, *events = run_with_events(tmp_path, epochs=3)
    assert dict(decoded(head))[3] == b"brain.Event:2"
    steps, found = zip(*map(scalars, events), strict=True)
    assert steps == (3, 6, 9) and found[0].keys() == found[2].keys() - {"seconds"}
    table = tiny_run.table(tmp_path)
    losses = [values["loss/test"] for values in found]
    assert losses == pytest.approx([float(row["test_loss"]) for row in table], rel=1e-6)


@given(st.binary(max_size=40))
def test_checksums_are_those_of_the_polynomial(body):
    assert tensorboard.crc32c(body) == bitwise_crc32c(body)


@pytest.mark.slow
@given(
    st.integers(0, 2**63 - 1),
    st.dictionaries(st.text(max_size=200), st.floats(width=32, allow_nan=False)),
)
def test_every_event_reads_back(step, values):
    assert scalars(tensorboard.event(1.0, step, values)) == (step, values)


def test_tensorboard_writes_nothing_outside_the_folder(tmp_path):
    (tmp_path / "outside").write_bytes(b"precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / tensorboard.EVENTS).symlink_to(tmp_path / "outside")
    with pytest.raises(OutputError, match=r"cannot be written: .* a symbolic link"):
        run_with_events(tmp_path / "out", epochs=1)
    assert (tmp_path / "outside").read_bytes() == b"precious"


def test_their_own_reader_finds_the_same(tmp_path):
    protocol = pytest.importorskip("tensorboardX.proto.event_pb2")
    head, event = run_with_events(tmp_path, epochs=1)
    assert protocol.Event.FromString(head).file_version == "brain.Event:2"
    found = protocol.Event.FromString(event)
    step, values = scalars(event)
    assert found.step == step and {v.tag: v.simple_value for v in found.summary.value} == values
