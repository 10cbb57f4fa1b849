"""Reading metrics.csv: the numbers of each epoch, and refusal of other files."""

import pytest
import runs

from minivae import DataError
from minivae.training import metrics


def test_metrics(tmp_path):
    """Numbers of each epoch, without the times."""
    (tmp_path / "metrics.csv").write_text(runs.METRICS)
    assert metrics.read(tmp_path) == [{
        "epoch": 1, "step": 3, "train_loss": 200.5, "train_rec": 190.25, "train_kl": 10.25,
        "test_loss": 199, "test_rec": 189.5, "test_kl": 9.5, "active_units": 2,
    }]  # fmt: skip


@pytest.mark.parametrize("text", [
    "epoch\n1\n", runs.METRICS.replace("199", "x"), runs.METRICS.replace("199", "nan"),
    runs.METRICS + "2,3\n", "\x00" + runs.METRICS,
])  # fmt: skip
def test_metrics_of_no_run(tmp_path, text):
    """A file that is no metrics.csv of a run is refused by name."""
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(DataError, match=r"metrics\.csv: not the metrics of a run"):
        metrics.read(tmp_path)
