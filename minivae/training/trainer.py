"""Trainer: the training loop of all VAEs, with checkpoints, exact resume and ``metrics.csv``.

A run is a pure function of its configuration: the order of images and the noise are functions of
(seed, epoch, batch), and a checkpoint holds nothing that depends on time. So a run killed anywhere
and resumed ends with the same bytes as one never stopped. With several processes all of them run
the loop; rank 0 alone writes files and prints (``parallel``).
"""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from .. import evaluation
from ..arguments import whole
from ..backend import device_module, device_of, is_out_of_memory, to_device
from ..data.batches import Batches, CutBatch, CutBatches
from ..data.device_batches import Selection
from ..errors import DeviceMemoryError, NonFiniteError, ParallelError
from ..models import VAE
from ..models.vae import ELBO
from ..noise import EVALUATION, Noise, NoiseStream
from ..optim import Optimizer
from . import checkpoint, metrics, parallel
from .choose_step import recorded
from .film import Film
from .interrupt import interruptible
from .metrics import Row
from .nonfinite import first_nonfinite, first_nonfinite_moment
from .output_folder import OutputFolder
from .parts import PartsStep, require_divisible
from .progress import EpochBar, Tell, epoch_line, say
from .recorded_step import RecordedStep
from .run_files import RunFiles
from .run_state import RunState
from .step import EagerStep

Step: TypeAlias = Callable[[Any, Noise, float], ELBO]  # (x, noise, beta)


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C after a checkpoint; the message says how to resume."""


class Trainer:
    """Trains a VAE and keeps ``metrics.csv`` and ``checkpoint.safetensors`` in an output folder.

    Args:
        model, optimizer: the model to train and the optimiser of its parameters.
        train, test: batches, such as ``data.PixelBatches``: ``len()`` is the number of batches in
            an epoch, ``count`` the number of images, ``epoch(e, start)`` yields epoch e's arrays
            from batch ``start`` on, the same at every call.
        out: the ``OutputFolder``, entered.
        epochs: how many in all, including those before a resume.
        seed: of the noise, for training (the offset counts steps) and, separately, evaluation.
        beta: weight of the KL term; every reported loss is ``rec + beta kl``.
        warmup: epochs over which the weight grows linearly from 0 to beta (Sønderby et al. 2016,
            arXiv:1602.02282), step by step.
        schedule: (first epoch, learning rate) pairs, epochs counted from 0 and rising: from that
            epoch on the optimiser has that rate. Empty keeps the optimiser's rate.
        keep_best: write the weights of the epoch with the lowest test loss to ``best.safetensors``.
        save_every: also write a checkpoint every so many steps; 0: only after each epoch.
        config: JSON-able options of the run, which a resumed run must share.
        replaces: names of files in ``out`` that an earlier run may have left; they are removed
            when this run's first checkpoint is written.
        beside: files to write with that checkpoint: a dict from name to text.
        callbacks: each is called after an epoch is saved, with its row of ``metrics.csv``.
        film: a ``Film`` that takes its frames during the run.
        parts: into how many parts each batch is cut; the gradients of the parts are added. By
            default one for each process. Results depend on ``parts`` and not on the number of
            processes.
        step: ``step(x, noise, beta)``; by default ``EagerStep(model, optimizer)``. An ``EagerStep``
            is recorded and replayed where that is faster; see ``training.choose_step``.
        tell: called with each line of text for the user.

    Attributes:
        state: the ``RunState``.
        files: the ``RunFiles``.
        ranks: ``Ranks``, the processes that train together.

    Raises:
        ValueError: an argument is out of range.
        ParallelError: a batch cannot be cut into so many parts, the processes cannot share the
            parts, or ``step`` does not support several parts.
    """

    def __init__(
        self, model: VAE, optimizer: Optimizer, train: Batches, test: Batches, out: OutputFolder, *,
        epochs: int, seed: int = 0, beta: float = 1.0, warmup: float = 0,
        schedule: Sequence[tuple[int, float]] = (),
        keep_best: bool = False, save_every: int = 0, config: dict[str, Any] | None = None,
        replaces: Iterable[str] = (), beside: Mapping[str, str] | None = None,
        callbacks: Iterable[Callable[[Row], object]] = (), film: Film | None = None,
        parts: int | None = None, step: Step | None = None, tell: Tell = say,
    ) -> None:  # fmt: skip
        whole("epochs", epochs, 1)
        whole("save_every", save_every, 0)
        for name, number in (("beta", beta), ("warmup", warmup)):
            if not 0 <= number < math.inf:
                raise ValueError(f"{name}: expected a finite number >= 0, got {number}")
        for name, batches in (("train", train), ("test", test)):
            if len(batches) == 0:
                raise ValueError(f"{name}: expected at least one image, got none")
        firsts = [first for first, _ in schedule]
        if firsts != sorted(set(firsts)) or any(not 0 <= rate < math.inf for _, rate in schedule):
            raise ValueError(f"schedule: expected rising epochs and rates >= 0, got {schedule}")
        self.ranks = parallel.world()
        parts = self.ranks.size if parts is None else parts
        self.model, self.optimizer, self.test = model, optimizer, test
        self.train: Batches | CutBatches = train
        self.epochs, self.beta, self.warmup, self.schedule = epochs, beta, warmup, tuple(schedule)
        self.keep_best, self.save_every = keep_best, save_every
        self.tell = tell if self.ranks.leads else lambda line: None
        self.device = device_of(model.parameters()[0].data)
        self.step_function: Step = step or EagerStep(model, optimizer)
        require_divisible(model, train, parts, self.ranks)
        if parts > 1:
            if type(self.step_function) is not EagerStep:
                raise ParallelError(f"step: expected an EagerStep for {parts} parts, got {step!r}")
            self.step_function = PartsStep(self.step_function, self.ranks)
            self.train = CutBatches(train, parts, self.ranks.mine(parts))
        elif type(self.step_function) is EagerStep:
            self.step_function, self.train = recorded(self.step_function, train, self.tell)
        options = {**(config or {}), "seed": seed, "beta": beta, "warmup": warmup}
        options |= {"schedule": self.schedule} if schedule else {}
        options |= {"parts": parts} if parts > 1 else {}
        architecture = {"name": type(model).__name__, **model.config()}
        self.state = RunState(seed, {**options, "architecture": architecture})
        self.files = RunFiles(out, replaces, beside, self.tell)
        self.callbacks, self.film = tuple(callbacks), film if self.ranks.leads else None

    def run(self) -> list[Row]:
        """Train until ``epochs`` epochs are done; returns the rows of ``metrics.csv``.

        Raises:
            NonFiniteError: a tensor is NaN or infinite; the message names the first one. The last
                checkpoint is kept.
            DeviceMemoryError: the GPU has no memory left; the last checkpoint is kept.
            Interrupted: Ctrl-C; a checkpoint after the latest step was written.
            CheckpointError, OutputError: a file cannot be written; the last checkpoint is kept.
            ValueError: the first batch is not of pixels in [0, 1], and nothing was trained; or
                ``train`` yields more or fewer batches than its length.
        """
        _require_pixels("train", self.train)
        _require_pixels("test", self.test)
        self._begin_together()
        self._take_frame()
        with interruptible(self.ranks.size == 1) as self._signalled:
            try:
                while self.state.epoch < self.epochs:
                    self._run_epoch()
            except _Stop:
                self.save()
                raise Interrupted(
                    f"stopped{self._by()} in epoch {self.state.epoch + 1} of {self.epochs}, after "
                    f"step {self.state.step}; {self.files.path} is up to date; a resumed run "
                    "(--resume) goes on from it"
                ) from None
            except NonFiniteError as error:
                kept = f"{self.files.path} is kept" if self.files.ours else "no checkpoint yet"
                raise NonFiniteError(
                    f"epoch {self.state.epoch + 1}, step {self.state.step + 1}: {error} is NaN or "
                    f"infinite; {kept}. A smaller learning rate may help."
                ) from error
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                free, total = device_module().cuda.runtime.memGetInfo()
                raise DeviceMemoryError(
                    f"epoch {self.state.epoch + 1}, step {self.state.step + 1} of batches of "
                    f"{self.train.batch_size}: {error}; the GPU has {free >> 20} of "
                    f"{total >> 20} MiB left. A smaller batch needs less."
                ) from error
        return self.state.rows

    def _begin_together(self) -> None:
        """Give all processes the weights, moments and state of rank 0."""
        if self.ranks.leads:
            self.files.tell_of_earlier_run()
        if self.ranks.size == 1:
            return
        self.tell(self.ranks.describe())
        own = self.model.state_dict(), self.optimizer.state_dict(), self.state.to_dict()
        weights, moments, state = self.ranks.broadcast(own)
        if not self.ranks.leads:
            self.model.load_state_dict(weights)
            self.optimizer.load_state_dict(moments)
            self.state = self.state.restored(self.files.path, state, len(self.train))

    def _run_epoch(self) -> None:
        start = time.perf_counter()
        state, losses = self.state, self.state.losses
        begun = state.batch > 0  # before this run was resumed, and for how long is not known
        for first, rate in self.schedule:  # a function of the epoch alone: nothing to resume
            if state.epoch >= first:
                self.optimizer.lr = rate
        with EpochBar(state.epoch + 1, self.epochs, self.train.count, losses.images) as bar:
            for xs in self._together(self._watched(self.train.epoch(state.epoch, state.batch))):
                self._train_on(xs)
                bar.step(sum(map(len, xs)), losses.mean(self.beta))
            losses.read()
        if state.batch != len(self.train):  # what follows could not be resumed
            raise ValueError(
                f"train: expected {len(self.train)} batches in an epoch, which is its length, got "
                f"{state.batch}"
            )
        tested = self._tested()
        trained = losses.mean(self.beta)
        assert trained is not None, "an epoch has images, and all are read"
        terms = {"train": trained, "test": tested.terms}
        row = {
            f"{part}_{k}": v for part, means in terms.items() for k, v in means._asdict().items()
        }
        row["active_units"] = evaluation.active_units(tested.mu)
        state.next_epoch(row, None if begun else time.perf_counter() - start)
        if self.ranks.leads:
            self._write_results(row)

    def _write_results(self, row: Row) -> None:
        """Write and print the results of an epoch."""
        state = self.state
        # The table before the checkpoint: if the process dies between the two, the epoch's time is
        # in the table, and a resumed run removes the row that the checkpoint does not have.
        metrics.write(self.files.out, state.rows, state.seconds)
        if self.keep_best and row["test_loss"] == min(r["test_loss"] for r in state.rows):
            self.files.save_best(self.model, {"epoch": state.epoch, "config": state.config})
        self.save()
        seconds = state.seconds.get(state.epoch, math.nan)
        self.tell(epoch_line(state.rows[-1], self.epochs, seconds))
        for callback in self.callbacks:
            callback({**state.rows[-1], "seconds": seconds})

    def _together(self, batches: Iterator[Any]) -> Iterator[list[Any]]:
        """The batches in groups of the size that the step function takes at once, smaller where a
        checkpoint or a frame of the film comes between.
        """
        most = 1 if self.film else getattr(self.step_function, "together", 1)
        while xs := list(itertools.islice(batches, self._until_saved(most))):
            yield xs

    def _until_saved(self, most: int) -> int:
        every = self.save_every
        return min(most, every - self.state.step % every) if every else most

    def _train_on(self, xs: Sequence[Any]) -> None:
        state = self.state
        ready = (Selection, CutBatch)
        xs = [x if isinstance(x, ready) else to_device(x, self.device) for x in xs]
        noises = [state.noise.draw() for _ in xs]
        betas = [self._kl_weight(state.step + i) for i in range(len(xs))]
        if isinstance(self.step_function, RecordedStep):
            steps = self.step_function.several(xs, noises, betas)
        else:
            steps = list(map(self.step_function, xs, noises, betas))
        for x, terms in zip(xs, steps, strict=True):
            state.step += 1
            state.batch += 1
            state.losses.add(terms, len(x))
        self._take_frame()
        if self.save_every and state.step % self.save_every == 0:
            self.save()

    def _take_frame(self) -> None:
        if self.film:
            self.film.take(self.state.step, self._kl_weight(self.state.step))

    def _kl_weight(self, step: int) -> float:
        ramp = self.warmup * len(self.train)
        return self.beta * min(1.0, step / ramp) if ramp else self.beta

    def _tested(self) -> evaluation.Evaluation:
        """The evaluation on the test images.

        Raises:
            NonFiniteError: the loss, a weight or a moment is not finite.
        """
        noise = NoiseStream(self.state.seed, EVALUATION)  # the same in every epoch
        images = self._watched(self.test.epoch(0), every=self.ranks.size)
        found = evaluation.elbo(self.model, images, noise, beta=self.beta, ranks=self.ranks)
        if not math.isfinite(found.terms.loss):
            raise NonFiniteError(first_nonfinite(self.model) or "the loss on the test images")
        if bad := first_nonfinite_moment(self.model, self.optimizer):
            raise NonFiniteError(bad)
        return found

    def _watched(self, batches: Iterable[Any], every: int = 1) -> Iterator[Any]:
        """The batches; raises ``_Stop`` on Ctrl-C in any process.

        All processes exchange whether they were interrupted, once for ``every`` batches.
        """
        for number, x in enumerate(batches):
            if number % every == 0 and self.ranks.any(self._signalled.is_set()):
                raise _Stop
            yield x

    def _by(self) -> str:
        """The words " by rank ..." for the processes that were interrupted; "" if all were."""
        asked = self.ranks.gather(self._signalled.is_set())
        ranks = [str(rank) for rank, signalled in enumerate(asked) if signalled]
        return "" if len(ranks) == self.ranks.size else f" by rank {', '.join(ranks)}"

    def timing(self) -> dict[str, float | None]:
        """``seconds`` of all epochs, tests included, and training ``images_per_second``.

        ``seconds`` is None if the time of an epoch is unknown, because the epoch was stopped in its
        middle or metrics.csv was lost; the rate is of the epochs with a known time.
        """
        seconds = self.state.seconds
        if not seconds:
            return {"seconds": None, "images_per_second": None}
        total = sum(seconds.values())
        return {
            "seconds": round(total, 3) if len(seconds) == len(self.state.rows) else None,
            "images_per_second": round(len(seconds) * self.train.count / total, 1),
        }

    def save(self) -> None:
        """Write the checkpoint and keep the previous one; errors as ``RunFiles.save``."""
        self.state.losses.read()
        if self.film:
            self.film.write()
        if self.ranks.leads:
            self.files.save(self.model, self.optimizer, self.state.to_dict())

    def resume(self) -> bool:
        """Continue from the newest undamaged checkpoint in the output folder; False without one.

        If ``checkpoint.safetensors`` is damaged, the previous checkpoint is used, ``tell`` is
        called with a line that says so, and the damaged file is renamed ``damaged.safetensors``.
        Rank 0 alone reads the file; the others receive its state in ``run``.

        Raises:
            CheckpointError: all checkpoints are damaged, or made with other options, the first of
                which the message names. Nothing is changed.
        """
        newest = self.files.newest_good() if self.ranks.leads else None
        if newest is None:
            return False
        path, saved = newest
        state = self.state.restored(path, saved, len(self.train))
        if "data" in saved["config"] and "pixels" not in saved["config"]:
            self.tell(
                f"{path} is of version 0.1, without a hash of its images: whether these are the "
                "same cannot be checked"
            )
        checkpoint.load(path, self.model, self.optimizer)
        if state.epoch > self.epochs:  # the options that led there asked for more than these
            self.files.beside = {}
        self.files.adopt(path)
        state.seconds = metrics.read_seconds(self.files.out, state.rows)
        metrics.write(self.files.out, state.rows, state.seconds)
        self.state = state
        if self.film:
            self.film.resume()
        return True


def _require_pixels(name: str, batches: Batches | CutBatches) -> None:
    """ValueError unless the first batch is in [0, 1]; pixels of 0 .. 255 would train a useless
    model without an error.
    """
    whole = batches.batches if isinstance(batches, CutBatches) else batches
    x = next(iter(whole.epoch(0)), None)
    if isinstance(x, np.ndarray) and not ((x >= 0) & (x <= 1)).all():  # NaN fails too
        raise ValueError(f"{name}: expected pixels from 0 to 1, got {x.min()} to {x.max()}")


class _Stop(Exception):  # noqa: N818  no error
    """Ctrl-C was pressed, and the latest step is finished."""
