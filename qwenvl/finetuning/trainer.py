"""The training loop: that of transformers, with what every run of ours has beside it.

A loss curve and TensorBoard events, a stop at Ctrl-C that loses nothing, checkpoints that can be gone on from, and
figures of what was used.
"""

import logging
import multiprocessing
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

from qwenvl.finetuning.curve import draw_curve
from qwenvl.finetuning.run_folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call of :meth:`QWenTrainer.run` ended.

    Attributes:
        is_complete: all steps are done; otherwise it was stopped, and has saved a checkpoint.
        steps: done in all, those before a resume too.
        loss: mean over this call's steps; None where it did none.
        eval_loss: at the end; None without evaluation data.
        seconds: of this call.
        tokens_per_second: of this call, padding not counted; None where tokens are not counted.
        peak_memory: bytes: of the accelerator if there is one, of this process's main memory otherwise.
    """

    is_complete: bool
    steps: int
    loss: float | None
    eval_loss: float | None
    seconds: float
    tokens_per_second: float | None
    peak_memory: int


class QWenTrainer(Trainer):
    """The Trainer of transformers in a folder of its own.

    Subclasses bring their own data, optimizer or loss as they would to the Trainer itself.

    Args:
        model: what is trained.
        args: ``output_dir`` is where checkpoints go: :attr:`RunFolder.checkpoints`.
        folder: the run's files.
        **kwargs: as for the Trainer.
    """

    def __init__(self, model: nn.Module, args: TrainingArguments, *, folder: RunFolder, **kwargs: Any) -> None:
        super().__init__(model, args, **kwargs)
        self.folder = folder
        self._stop = _StopWhenAsked()
        self.add_callback(self._stop)
        self.add_callback(_Curve(folder))
        if self.is_world_process_zero():
            folder.events.mkdir(parents=True, exist_ok=True)
            self.add_callback(TensorBoardCallback(SummaryWriter(str(folder.events))))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As the Trainer's, with workers that leave signals to this process."""
        return _undisturbed(super().get_train_dataloader())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """As the Trainer's, with workers that leave signals to this process."""
        return _undisturbed(super().get_eval_dataloader(eval_dataset))

    def run(self, *, resume: bool = False) -> Outcome:
        """Train to the end, or until SIGINT or SIGTERM asks to stop: then the step is finished and saved.

        Args:
            resume: go on from the folder's last checkpoint, from the start where there is none yet.
        """
        checkpoint = self.folder.last_checkpoint() if resume else None
        if resume:
            logger.info("going on from %s", checkpoint or "the start: no checkpoint was saved")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with self._stop.listening(), _workers_ended():
            result = self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        return Outcome(
            is_complete=self.state.global_step >= self.state.max_steps,
            steps=self.state.global_step,
            loss=result.metrics.get("train_loss"),
            eval_loss=self._last_logged("eval_loss"),
            seconds=result.metrics["train_runtime"],
            tokens_per_second=self._last_logged("train_tokens_per_second"),
            peak_memory=peak_memory(),
        )

    def _last_logged(self, key: str) -> float | None:
        return next((entry[key] for entry in reversed(self.state.log_history) if key in entry), None)


def peak_memory() -> int:
    """Most bytes in use at a time so far, of the accelerator or else of this process's main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Linux counts kibibytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _undisturbed(loader: DataLoader[Any]) -> DataLoader[Any]:
    loader.worker_init_fn = partial(leave_signals, then=loader.worker_init_fn)
    return loader


def leave_signals(worker: int, then: Callable[[int], None] | None = None) -> None:
    """A worker's start. A signal to the whole group is for the process that trains: it needs its workers to the end."""
    for number in _StopWhenAsked.SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if then is not None:
        then(worker)


@contextmanager
def _workers_ended() -> Iterator[None]:
    """A run that is broken off leaves its workers, which do not hear the signal that ends them with this process."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for worker in set(multiprocessing.active_children()) - before:
            worker.kill()
        raise


class _Curve(TrainerCallback):
    """Draws the loss curve whenever a checkpoint is saved, and at the end."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            draw_curve(state.log_history, self._folder.curve)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.on_save(args, state, control)


class _StopWhenAsked(TrainerCallback):
    """Turns the first SIGINT or SIGTERM into a checkpoint and the end of training; a second one ends at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.is_asked = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over; only a main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
        for each in self.SIGNALS:
            signal.signal(each, signal.default_int_handler)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._agree(args)
        if self.is_asked and state.global_step < state.max_steps:
            logger.warning("stopping after step %d of %d", state.global_step, state.max_steps)
            control.should_save = True
            control.should_training_stop = True

    def _agree(self, args: TrainingArguments) -> None:
        """Processes stop after the same step, though the signal reaches each in its own."""
        if args.world_size > 1:
            asked = torch.tensor(int(self.is_asked), device=args.device)
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
            self.is_asked = bool(asked)
