"""Training a VAE: one loop for digits and faces that can be stopped at any moment and goes on.

A run is a pure function of its configuration: the order of images and the noise are functions of
(seed, epoch, batch), and a checkpoint holds nothing that depends on time. So a run killed anywhere
and resumed ends with the same bytes as one never stopped.
"""

import json
import math
import time

import numpy as np
from tqdm import tqdm

from .. import evaluation, models
from ..backend import array_module, device_of, is_device_array, to_device, to_numpy
from ..data import dataset
from ..data.device_batches import Selection
from ..errors import CheckpointError, NonFiniteError
from ..noise import EVALUATION, TRAINING, NoiseStream
from . import checkpoint, metrics
from .cuda_graph import captured
from .interrupt import interruptible
from .nonfinite import first_nonfinite, first_nonfinite_moment
from .objectives import elbo

CHECKPOINT, PREVIOUS = "checkpoint.safetensors", "previous.safetensors"
BACKUP, DAMAGED = "backup.safetensors", "damaged.safetensors"
BEST = "best.safetensors"
READ_EVERY = 50  # steps of a GPU between two waits for its losses


class EagerStep:
    """One training step, operation by operation. A captured graph can stand in for it.

    ``step(x, noise, beta)`` updates the weights and gives ``ELBO(loss, rec, kl)``, scalar tensors,
    means over the batch. On the CPU it raises NonFiniteError before anything is changed.

    ``objective(model, x, noise, beta)`` gives those terms; see ``minivae.training.objectives``.
    """

    def __init__(self, model, optimizer, objective=elbo):
        self.model, self.optimizer, self.objective = model, optimizer, objective

    def __call__(self, x, noise, beta):
        terms = self.objective(self.model, x, noise, beta)
        if not is_device_array(x) and not math.isfinite(terms.loss.item()):
            raise NonFiniteError(first_nonfinite(self.model, x, terms.loss) or "the loss")
        self.optimizer.zero_grad()
        terms.loss.backward()
        self.optimizer.step()
        return terms


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the checkpoint was written; the message says how to go on."""


class Trainer:
    """Trains a VAE and keeps ``metrics.csv`` and ``checkpoint.safetensors`` in an output folder.

    Args:
        model, optimizer: what is trained.
        train, test: batches, such as ``data.PixelBatches``: ``len()`` is the number of batches in
            an epoch, ``count`` the number of images, ``epoch(e, start)`` yields epoch e's arrays
            from batch ``start`` on, the same at every call.
        out: an ``OutputFolder`` that is held.
        epochs: how many in all, resumed ones included.
        seed: of the noise, for training (offset counts the steps) and, apart, for evaluation.
        beta: weight of the KL term; reported losses are ``rec + beta kl`` always.
        warmup: epochs over which the weight grows linearly from 0 to beta (Sønderby et al. 2016,
            arXiv:1602.02282), step by step.
        schedule: (first epoch, learning rate) pairs, epochs counted from 0 and rising; from each
            of them on the optimiser has that rate. Empty keeps the one it has.
        keep_best: write the weights of the epoch with the lowest test loss to ``best.safetensors``.
        save_every: also write a checkpoint after this many steps; 0 only after each epoch.
        config: JSON-able options of the run that a resumed one must share.
        replaces: names of files in ``out`` that an earlier run may have left and that no longer
            belong there when this run's first checkpoint comes.
        step: ``step(x, noise, beta)``; by default ``EagerStep(model, optimizer)``. On a GPU an
            ``EagerStep`` is captured as one graph; see ``minivae.training.cuda_graph``.

    Attributes:
        rows: one dict an epoch with the keys ``metrics.COLUMNS``, without ``seconds``.
        seconds: dict from epoch to the time its training and testing took, of this process or as
            ``metrics.csv`` has it; the part before a resume within an epoch is not counted.
    """

    def __init__(
        self, model, optimizer, train, test, out, *, epochs, seed=0, beta=1.0, warmup=0,
        schedule=(), keep_best=False, save_every=0, config=None, replaces=(), step=None,
    ):  # fmt: skip
        for name, value, least in (("epochs", epochs, 1), ("save_every", save_every, 0)):
            if value < least:
                raise ValueError(f"{name}: expected at least {least}, got {value}")
        for name, value in (("beta", beta), ("warmup", warmup)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a finite number >= 0, got {value}")
        for name, batches in (("train", train), ("test", test)):
            if len(batches) == 0:
                raise ValueError(f"{name}: expected at least one image, got none")
        firsts = [first for first, _ in schedule]
        if firsts != sorted(set(firsts)) or any(not 0 <= rate < math.inf for _, rate in schedule):
            raise ValueError(f"schedule: expected rising epochs and rates >= 0, got {schedule}")
        self.model, self.optimizer, self.train, self.test = model, optimizer, train, test
        self.schedule, self.keep_best = tuple(schedule), keep_best
        self.out, self.epochs, self.seed = out, epochs, seed
        self.beta, self.warmup, self.save_every = beta, warmup, save_every
        self.replaces = replaces
        self.device = device_of(model.parameters()[0].data)
        self.step_function = step or EagerStep(model, optimizer)
        if self.device == "cuda" and type(self.step_function) is EagerStep:
            self.step_function, self.train = captured(self.step_function, train)
        architecture = {"name": type(model).__name__, **model.config()}
        options = {**(config or {}), "seed": seed, "beta": beta, "warmup": warmup}
        options |= {"schedule": self.schedule} if schedule else {}
        self.config = json.loads(json.dumps({**options, "architecture": architecture}))
        self.noise = NoiseStream(seed, TRAINING)
        self.epoch = self.step = self.batch = 0  # epochs and steps done; batches of this epoch
        self.rows, self.seconds = [], {}
        self.resumed = self.saved = False  # whether a checkpoint was read or written here
        self._restart_sums()

    # ------------------------------------------------------------ the loop
    def run(self):
        """Train until ``epochs`` epochs are done; returns ``rows``.

        Raises:
            NonFiniteError: names the first tensor that is not finite; the last checkpoint stays.
            Interrupted: Ctrl-C; a checkpoint of this very step was written.
            CheckpointError, OutputError: a file cannot be written; the last checkpoint stays.
            ValueError: the first images are not pixels in [0, 1]; nothing was trained.
        """
        _require_pixels("train", self.train)
        _require_pixels("test", self.test)
        if not self.resumed and (self.out / CHECKPOINT).exists():
            print(
                f"{self.out / CHECKPOINT} is of an earlier run; "
                f"it is renamed {PREVIOUS} when this run's first checkpoint is written"
            )
        with interruptible() as self._signalled:
            try:
                while self.epoch < self.epochs:
                    self._run_epoch()
            except _Stop:
                self._read()
                self.save()
                raise Interrupted(
                    f"stopped in epoch {self.epoch + 1} of {self.epochs}, after step {self.step}; "
                    f"{self.out / CHECKPOINT} is up to date, --resume continues from it"
                ) from None
            except NonFiniteError as error:
                kept = self.out / CHECKPOINT
                kept = f"{kept} is kept" if self.resumed or self.saved else "no checkpoint yet"
                raise NonFiniteError(
                    f"epoch {self.epoch + 1}, step {self.step + 1}: {error} is NaN or infinite; "
                    f"{kept}. A smaller learning rate may help."
                ) from error
        return self.rows

    def _run_epoch(self):
        start = time.perf_counter()
        for first, rate in self.schedule:  # a function of the epoch alone: nothing to resume
            if self.epoch >= first:
                self.optimizer.lr = rate
        with tqdm(
            total=self.train.count,
            initial=self._images,
            desc=f"epoch {self.epoch + 1}/{self.epochs}",
            unit="img",
            leave=False,
            disable=None,  # unless stderr is a terminal
        ) as bar:
            for x in self._watched(self.train.epoch(self.epoch, self.batch)):
                self._train_on(x, bar)
            self._read()
        noise = NoiseStream(self.seed, EVALUATION)  # the same in every epoch
        test = self._watched(self.test.epoch(0))
        found = evaluation.elbo(self.model, test, noise, beta=self.beta)
        tested = found.terms
        if not math.isfinite(tested.loss):
            raise NonFiniteError(first_nonfinite(self.model) or "the loss on the test images")
        if bad := first_nonfinite_moment(self.model, self.optimizer):
            raise NonFiniteError(bad)
        rec, kl = self._rec / self._images, self._kl / self._images
        self.epoch += 1
        self.rows.append({
            "epoch": self.epoch, "step": self.step,
            "train_loss": rec + self.beta * kl, "train_rec": rec, "train_kl": kl,
            "test_loss": tested.loss, "test_rec": tested.rec, "test_kl": tested.kl,
            "active_units": evaluation.active_units(found.mu),
        })  # fmt: skip
        self.batch = 0
        self._restart_sums()
        self.seconds[self.epoch] = time.perf_counter() - start
        # First the table, then the checkpoint: should the process die between the two, the time
        # of the epoch is on record and a resumed run puts the table right.
        metrics.write(self.out, self.rows, self.seconds)
        if self.keep_best and tested.loss == min(row["test_loss"] for row in self.rows):
            state = {"epoch": self.epoch, "config": self.config}
            self.out.write(BEST, checkpoint.to_bytes(self.out / BEST, self.model, **state))
        self.save()
        print(self._report(), flush=True)

    def _train_on(self, x, bar):
        x = x if isinstance(x, Selection) else to_device(x, self.device)
        terms = self.step_function(x, self.noise.draw(), self._kl_weight())
        self._unread.append((terms, len(x)))
        self.step += 1
        self.batch += 1
        saving = self.save_every and self.step % self.save_every == 0
        if self.device == "cpu" or saving or len(self._unread) == READ_EVERY:
            self._read()
        if not bar.disable:
            if not self._unread:
                rec, kl = self._rec / self._images, self._kl / self._images
                loss = rec + self.beta * kl
                bar.set_postfix_str(f"loss {loss:.2f} rec {rec:.2f} kl {kl:.2f}", refresh=False)
            bar.update(len(x))
        if saving:
            self.save()

    def _kl_weight(self):
        ramp = self.warmup * len(self.train)
        return self.beta * min(1.0, self.step / ramp) if ramp else self.beta

    def _restart_sums(self):
        self._rec, self._kl, self._images, self._unread = 0.0, 0.0, 0, []

    def _read(self):
        """Take the losses of the steps since the last reading into the epoch's sums."""
        for (rec, kl), (_, n) in zip(self._losses(), self._unread, strict=True):
            if not math.isfinite(rec + kl):  # a GPU gives no earlier notice
                raise NonFiniteError("the reconstruction loss or KL of one of the last steps")
            self._rec += n * rec
            self._kl += n * kl
            self._images += n
        self._unread = []

    def _losses(self):
        """(rec, kl) of the steps not yet read, in one copy from a GPU."""
        pairs = [(terms.rec.data, terms.kl.data) for terms, _ in self._unread]
        if self.device == "cpu" or not pairs:
            return [(rec.item(), kl.item()) for rec, kl in pairs]
        flat = array_module(pairs[0][0]).stack([number for pair in pairs for number in pair])
        return to_numpy(flat).reshape(-1, 2).tolist()

    def _watched(self, batches):
        """The batches, until Ctrl-C."""
        for x in batches:
            if self._signalled.is_set():
                raise _Stop
            yield x

    def timing(self):
        """``seconds`` of all epochs and training ``images_per_second`` of them (testing included in
        the time); None where metrics.csv no longer has them.
        """
        if len(self.seconds) < len(self.rows) or not self.rows:
            return {"seconds": None, "images_per_second": None}
        seconds = sum(self.seconds.values())
        rate = len(self.rows) * self.train.count / seconds
        return {"seconds": round(seconds, 3), "images_per_second": round(rate, 1)}

    def _report(self):
        row = self.rows[-1]
        return (
            f"epoch {self.epoch}/{self.epochs}: train {row['train_loss']:.2f}, "
            f"test {row['test_loss']:.2f} (rec {row['test_rec']:.2f}, kl {row['test_kl']:.2f}), "
            f"{row['active_units']} active units, {self.seconds[self.epoch]:.1f} s"
        )

    # ------------------------------------------------------------ what is kept
    def save(self):
        """Write the checkpoint and keep the one before it as ``backup.safetensors``.

        The first one of a new run moves an earlier run's file aside.
        """
        if not (self.saved or self.resumed):
            self.out.remove(BACKUP)
            self.out.rename(CHECKPOINT, PREVIOUS)
            for name in self.replaces:
                self.out.remove(name)
        body = checkpoint.to_bytes(
            self.out / CHECKPOINT,
            self.model,
            self.optimizer,
            config=self.config,
            epoch=self.epoch,
            step=self.step,
            noise={"seed": self.noise.seed, "offset": self.noise.offset},
            shuffle={"seed": self.seed, "epoch": self.epoch, "batch": self.batch},
            sums={"rec": self._rec, "kl": self._kl, "images": self._images},
            metrics=self.rows,
        )
        self.out.write(CHECKPOINT, body, keep=BACKUP)
        self.saved = True

    def resume(self):
        """Continue from the newest good checkpoint in the output folder; False when there is none.

        When ``checkpoint.safetensors`` is damaged, that is the one before it; a line on stdout says
        so, and the damaged file is renamed ``damaged.safetensors``.

        Raises:
            CheckpointError: it cannot be used: damaged, or made with other options, the first of
                which is named. Nothing is changed then.
        """
        newest, backup = self.out / CHECKPOINT, self.out / BACKUP
        if not (newest.exists() or backup.exists()):
            return False
        path, state = self._newest_good(newest, backup)
        try:
            self._require_same_config(path, state["config"])
            position = [state[name] for name in ("epoch", "step")] + [state["shuffle"]["batch"]]
            offset, sums, rows = state["noise"]["offset"], state["sums"], state["metrics"]
            sums = float(sums["rec"]), float(sums["kl"]), int(sums["images"])
            rows = [
                {name: row[name] for name in metrics.COLUMNS if name != "seconds"} for row in rows
            ]
            numbers = [value for row in rows for value in row.values()]
            noise = NoiseStream(state["noise"]["seed"], offset)
            epoch, step, batch = position
            if not (
                all(isinstance(n, int) and n >= 0 for n in position)
                and all(isinstance(n, (int, float)) for n in numbers)
                and batch <= len(self.train)
                and (sums[2] > 0) == (batch > 0)
                and step == epoch * len(self.train) + batch == offset - TRAINING
                and [row["epoch"] for row in rows] == list(range(1, epoch + 1))
                and noise.seed == self.seed
            ):
                raise ValueError("its counters contradict one another")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: not the state of a training run: {error}") from error
        checkpoint.load(path, self.model, self.optimizer)
        if path == backup:
            self.out.rename(CHECKPOINT, DAMAGED)
            self.out.rename(BACKUP, CHECKPOINT)
        self.epoch, self.step, self.batch = position
        self._rec, self._kl, self._images = sums
        self.noise, self.rows, self.resumed = noise, rows, True
        self.seconds = metrics.read_seconds(self.out, self.rows)
        metrics.write(self.out, self.rows, self.seconds)
        return True

    def _newest_good(self, newest, backup):
        """(path, state) of the first of two checkpoints that is whole."""
        try:
            return newest, checkpoint.load(newest)
        except CheckpointError as error:
            if not backup.exists():
                raise
            state = checkpoint.load(backup)
            print(f"{error}; continuing from the checkpoint before it, {backup}")
            return backup, state

    def _require_same_config(self, path, recorded):
        if isinstance(recorded.get("architecture"), dict):
            architecture = json.loads(json.dumps(models.completed(recorded["architecture"])))
            recorded = {**recorded, "architecture": architecture}
        for name in self.config | recorded:  # options before the architecture they lead to
            was, now = recorded.get(name), self.config.get(name)
            if was != now and name not in dataset.RECORDED:
                raise CheckpointError(
                    f"{path}: made with {name} {was}, this run has {name} {now}; a resumed run "
                    "must share it. Resume with the old value, or start anew without --resume."
                )
        if reason := dataset.difference(recorded, self.config):
            raise CheckpointError(
                f"{path}: {reason}. A resumed run needs the very images of the run before; name "
                "them with --data, or start anew without --resume."
            )
        if "data" in recorded and "pixels" not in recorded:
            print(f"{path} is of version 0.1, without a hash of its images: whether these are "
                  "the same cannot be checked")  # fmt: skip


def _require_pixels(name, batches):
    """ValueError unless the first batch is in [0, 1]: 0 .. 255 would train, to no purpose."""
    x = next(iter(batches.epoch(0)))
    if isinstance(x, np.ndarray) and not ((x >= 0) & (x <= 1)).all():  # nor is NaN
        raise ValueError(f"{name}: expected pixels from 0 to 1, got {x.min()} to {x.max()}")


class _Stop(Exception):  # noqa: N818  no error
    """Ctrl-C was pressed and the state between two steps is whole."""
