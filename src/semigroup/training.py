"""The one training loop: accelerate's devices, precision and processes; averaged weights; checkpoints; resume.

Randomness is a function of the step: the generator handed to the loss at step ``s`` is seeded by (seed, s, process), and
`EpochSampler` derives each epoch's order from (seed, epoch). A run that was stopped in any way and resumed from its last
checkpoint therefore gives the same weights as one that was never stopped.

Under ``torchrun`` or ``accelerate launch`` every process takes its own batches, gradients and reported losses are means over
the processes, and all of them stop together.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from semigroup.base import seed_from

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = [
    "EpochSampler",
    "TrainingDiverged",
    "TrainingResult",
    "interrupt_between_steps",
    "seeded",
    "state_for_all",
    "train",
    "warmup_then_linear",
]

CHECKPOINT = "checkpoint.pt"


class TrainingDiverged(RuntimeError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


@dataclass
class TrainingResult:
    """What `train` leaves besides the trained network.

    Attributes
    ----------
    losses : list of float
        Training loss of each step.
    evaluations : list of (int, float or dict)
        Step and value, or values by name, of each evaluation; lower is better.
    best : dict of str to dict
        Weights of the best evaluation by each name, where there were several.
    averaged : nn.Module or None
        The network with exponentially averaged weights, where `ema_decay` was given.
    n_steps : int
        Steps taken (fewer than asked for if the evaluations stopped improving).
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, Any]] = field(default_factory=list)
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    averaged: nn.Module | None = None
    n_steps: int = 0


class EpochSampler:
    """Minibatch indices by step: every epoch a fresh permutation that depends on (seed, epoch) only.

    With several processes, each step takes as many batches as there are processes, a different one in each.

    Parameters
    ----------
    n : int
        Number of examples.
    batch_size : int
        Examples a batch and process; the last, smaller batch of an epoch is kept.
    seed : int
    smallest_batch : int
        A last batch with fewer examples than this is joined to the one before (batch normalisation needs two).

    Examples
    --------
    >>> batches = EpochSampler(5, 2, seed=0)
    >>> sorted(torch.cat([batches(step) for step in range(3)]).tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, batch_size: int, seed: int, *, smallest_batch: int = 1) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.batches_per_epoch = max(1, math.ceil((n - smallest_batch + 1) / batch_size))
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        rank, n_processes = _process()
        epoch, position = divmod(step * n_processes + rank, self.batches_per_epoch)
        if epoch != self._epoch:
            self._order = torch.randperm(self.n, generator=_step_generator(self.seed, epoch, 0, "cpu"))
            self._epoch = epoch
        last = position == self.batches_per_epoch - 1
        return self._order[position * self.batch_size : None if last else (position + 1) * self.batch_size]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generators seeded inside the block, for initial weights and dropout, and as they were after it."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        # torch.manual_seed would do the same, and keep a stack trace for each call while CUDA is not in use.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


def state_for_all(random_state: Any, *, resume: bool = False, device: str | None = None) -> Any:
    """The ``random_state`` that a training takes everything from that all its processes and continuations share.

    Which examples are held out, their order and the first weights follow from it. Without one of the user's, each process
    would draw its own, judge by other examples than the rest and stop at another step: here they take that of the first.

    Parameters
    ----------
    random_state : int, Generator, RandomState or None
        The estimator's.
    resume : bool
        Whether the training goes on from a checkpoint.
    device : {"cpu", "cuda"}, optional
        As in `train`.

    Returns
    -------
    int, Generator, RandomState or None
        What was given, or the seed drawn where several processes need one.

    Raises
    ------
    ValueError
        If a training without a seed is to go on: it would learn from what it held out before it was stopped.
    """
    if random_state is not None:
        return random_state
    if resume:
        raise ValueError("resume needs random_state: without it other examples would be held out than before the stop")
    if _process()[1] == 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return None
    accelerator = _accelerator(device, "no")
    return _of_first_process(seed_from(None), accelerator.device)


def warmup_then_linear(n_warmup: int, n_steps: int) -> Callable[[int], float]:
    """Factor of the learning rate: linear up over `n_warmup` steps, then linear down to 0 at `n_steps`."""

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        return max(0.0, (n_steps - step) / max(1, n_steps - n_warmup))

    return factor


def train(
    network: nn.Module,
    compute_loss: Callable[[nn.Module, int, torch.Generator], Tensor],
    *,
    n_steps: int,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float] | None = None,
    seed: int = 0,
    ema_decay: float | Callable[[int], float] | None = None,
    max_grad_norm: float | None = None,
    evaluate: Callable[[nn.Module], float | dict[str, float]] | None = None,
    evaluate_every: int = 500,
    later_of_equals: bool = False,
    patience: int | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 500,
    resume: bool = False,
    device: str | None = None,
    mixed_precision: str = "no",
    some_unused: bool = False,
    description: str = "training",
    progress: bool = False,
) -> TrainingResult:
    """Train a network in place.

    Parameters
    ----------
    network : nn.Module
        Trained in place; moved to the device that accelerate chooses unless `device` is given, and left there.
    compute_loss : callable
        ``compute_loss(network, step, generator)`` gives the scalar loss of one step. All its randomness comes from
        `generator` (on the network's device), which differs between steps and processes.
    n_steps : int
        Optimiser steps.
    optimizer : torch.optim.Optimizer
        Over the network's parameters.
    schedule : callable, optional
        Factor of the learning rate as a function of the step.
    seed : int
    ema_decay : float or callable, optional
        Keep an exponential moving average of the weights with this decay, or with the decay ``ema_decay(k)`` at update
        k = 1, 2, ...; it is what `evaluate` sees.
    max_grad_norm : float, optional
        Clip the gradient's norm.
    evaluate : callable, optional
        ``evaluate(network)`` gives a held-out value, lower is better, every `evaluate_every` steps. The weights of the
        best value are what remains at the end. Where it gives several values by name, that is said of the first, and the
        weights that were best by each name are in the result.
    later_of_equals : bool
        Of equal best values the later one counts.
    patience : int, optional
        Stop after this many evaluations without improvement.
    checkpoint_dir : path, optional
        Where ``checkpoint.pt`` is written every `checkpoint_every` steps, and on Ctrl-C.
    resume : bool
        Continue from the checkpoint in `checkpoint_dir`, if there is one.
    device : {"cpu", "cuda"}, optional
        By default, accelerate chooses.
    mixed_precision : {"no", "fp16", "bf16"}
    some_unused : bool
        The loss does not depend on every parameter; several processes have to know it before they share gradients. Then the
        network is called once a step.
    description : str
        Words on the progress bar.
    progress : bool
        Show a progress bar.

    Returns
    -------
    TrainingResult

    Raises
    ------
    TrainingDiverged
        If the loss is NaN or infinite; names the step and the value.
    KeyboardInterrupt
        After the checkpoint is written, if the run is stopped with Ctrl-C.

    Examples
    --------
    >>> network = nn.Linear(1, 1)
    >>> x = torch.linspace(-1, 1, 32)[:, None]
    >>> def loss(network, step, generator):
    ...     return ((network(x) - 3 * x) ** 2).mean()
    >>> result = train(
    ...     network,
    ...     loss,
    ...     n_steps=300,
    ...     optimizer=torch.optim.Adam(network.parameters(), lr=0.05),
    ...     device="cpu",
    ... )
    >>> round(network.weight.item(), 2)
    3.0
    """
    if resume and checkpoint_dir is None:
        raise ValueError("resume needs checkpoint_dir, the folder that holds the checkpoint")
    accelerator = _accelerator(device, mixed_precision, some_unused)
    model = accelerator.prepare(network)
    if accelerator.scaler is not None:
        # Only scaled gradients need the wrapped optimiser, whose look-ups of optional packages at every step cost more
        # than the arithmetic of a small network.
        optimizer = accelerator.prepare(optimizer)
    bare = accelerator.unwrap_model(model)
    averaged = None
    if ema_decay is not None:
        averaged = torch.optim.swa_utils.AveragedModel(bare, multi_avg_fn=_moving_average(ema_decay), use_buffers=True)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    result = TrainingResult(averaged=None if averaged is None else averaged.module)
    best: dict[str, Any] = {"stale": 0, "values": {}, "weights": {}}
    path = None if checkpoint_dir is None else Path(checkpoint_dir) / CHECKPOINT

    def kept() -> str:
        return f"; the last good checkpoint is {path}" if path is not None and path.exists() else ""

    def save(step: int) -> None:
        # A finite loss can still have left bad weights behind: they never replace a good checkpoint.
        if not all(torch.isfinite(parameter).all() for parameter in bare.parameters()):
            raise TrainingDiverged(f"{description}: the weights are NaN or infinite after step {step - 1}{kept()}")
        if path is None:
            return
        if accelerator.is_main_process:
            path.parent.mkdir(parents=True, exist_ok=True)
            state = {
                "step": step,
                "network": bare.state_dict(),
                "averaged": None if averaged is None else averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": None if accelerator.scaler is None else accelerator.scaler.state_dict(),
                "losses": result.losses,
                "evaluations": result.evaluations,
                "best": best,
            }
            partial = path.with_suffix(".partial")
            torch.save(state, partial)
            os.replace(partial, path)
        # No process may read the checkpoint, or end, before it is whole.
        accelerator.wait_for_everyone()

    first = 0
    if resume and path is not None and path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        bare.load_state_dict(state["network"])
        if averaged is not None:
            averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        result.losses, result.evaluations = state["losses"], [tuple(pair) for pair in state["evaluations"]]
        best.update(state["best"])
        first = state["step"]

    step = first
    pending: list[Tensor] = []

    def flush() -> None:
        """Bring the recorded losses over in one transfer, and refuse to go on from a bad one."""
        if not pending:
            return
        # The mean over the processes, so that all of them see the same value and stop at the same step.
        values = accelerator.reduce(torch.stack(pending).float(), "mean").tolist()
        start = len(result.losses)
        pending.clear()
        for offset, value in enumerate(values):
            if not math.isfinite(value):
                raise TrainingDiverged(f"{description}: the loss is {value} at step {start + offset}{kept()}")
        result.losses.extend(values)

    model.train()
    show = progress and accelerator.is_main_process
    with (
        _progress_bar(description, n_steps, first, show) as advance,
        interrupt_between_steps() as interrupted,
    ):
        while step < n_steps and not (patience is not None and best["stale"] >= patience):
            for group, rate in zip(optimizer.param_groups, base_rates):
                group["lr"] = rate * (schedule(step) if schedule else 1.0)
            generator = _step_generator(seed, step, accelerator.process_index, accelerator.device)
            loss = compute_loss(model, step, generator)
            accelerator.backward(loss)
            if max_grad_norm is not None:
                accelerator.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if averaged is not None:
                averaged.update_parameters(bare)
            pending.append(loss.detach())
            step += 1
            if step % 50 == 0 or step == n_steps:
                flush()
                advance(step, result.losses[-1])
            if evaluate is not None and (step % evaluate_every == 0 or step == n_steps):
                flush()
                evaluated = bare if averaged is None else averaged.module
                _evaluate(evaluate, evaluated, step, result, best, later_of_equals, accelerator.device)
                model.train()
            if path is not None and step % checkpoint_every == 0:
                flush()
                save(step)
            if _in_any_process(interrupted(), accelerator.device):
                flush()
                save(step)
                raise KeyboardInterrupt(f"{description}: stopped at step {step}")
    flush()
    # Saved before the best weights return, so that a run may also be continued beyond its end.
    save(step)
    result.best = best["weights"]
    if result.best:
        (bare if averaged is None else averaged.module).load_state_dict(next(iter(result.best.values())))
    result.n_steps = step
    model.eval()
    return result


def _accelerator(device: str | None, mixed_precision: str, some_unused: bool = False) -> Accelerator:
    """accelerate's handle on devices and processes.

    accelerate keeps one state a process and refuses another device or precision than the first call's; here every call may
    choose, so a state that does not fit is dropped.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    if device not in (None, "cpu", "cuda"):
        raise ValueError(f"device must be 'cpu', 'cuda' or None, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be 'cpu' or None here, got 'cuda': torch sees no CUDA device")
    state = AcceleratorState._shared_state
    if state and (state["_cpu"], state["_mixed_precision"]) != (device == "cpu", mixed_precision):
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    alone = not torch.distributed.is_initialized()
    sharing = [DistributedDataParallelKwargs(find_unused_parameters=True)] if some_unused else []
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision, kwargs_handlers=sharing)
    if alone and torch.distributed.is_initialized():
        # A process that exits while gloo's threads still run may be aborted by them, after all its work is done.
        atexit.register(_leave_processes)
    return accelerator


def _moving_average(decay: float | Callable[[int], float]) -> Callable[[Any, Any, Tensor | int], None]:
    """torch's update of averaged weights, whose decay may depend on how many updates were made."""
    if not callable(decay):
        return torch.optim.swa_utils.get_ema_multi_avg_fn(decay)

    def update(averaged: Any, current: Any, n_averaged: Tensor | int) -> None:
        torch.optim.swa_utils.get_ema_multi_avg_fn(decay(int(n_averaged)))(averaged, current, n_averaged)

    return update


def _leave_processes() -> None:
    """Part from the other processes, if the user's program has not already."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _process() -> tuple[int, int]:
    """This process's rank, and how many there are."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _in_any_process(value: bool, device: torch.device) -> bool:
    """Whether `value` holds in any process: signals reach them between different steps."""
    if _process()[1] == 1:
        return value
    flag = torch.tensor(int(value), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def _of_first_process(value: Any, device: torch.device) -> Any:
    """The first process's `value`, in all of them."""
    if _process()[1] == 1:
        return value
    shared = [value]
    torch.distributed.broadcast_object_list(shared, src=0, device=device)
    return shared[0]


def _evaluate(
    evaluate: Callable[[nn.Module], float | dict[str, float]],
    network: nn.Module,
    step: int,
    result: TrainingResult,
    best: dict[str, Any],
    later_of_equals: bool,
    device: torch.device,
) -> None:
    """Evaluate once and remember the best weights by each value; the first one counts for the patience."""
    network.eval()
    with torch.no_grad():
        found = evaluate(network)
    # Values that differ in their last digit between machines must not let one process stop before another.
    found = _of_first_process(found, device)
    result.evaluations.append((step, found if isinstance(found, dict) else float(found)))
    values = found if isinstance(found, dict) else {"value": float(found)}
    before = {name: best["values"].get(name, math.inf) for name in values}
    better = [name for name, v in values.items() if v < before[name] or (later_of_equals and v == before[name])]
    if better:
        weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        for name in better:
            best["values"][name], best["weights"][name] = values[name], weights
    best["stale"] = 0 if next(iter(values)) in better else best["stale"] + 1


def _step_generator(seed: int, step: int, process: int, device: torch.device | str) -> torch.Generator:
    """The generator of one step, a function of its arguments alone."""
    entropy = np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(entropy >> 1))


@contextmanager
def interrupt_between_steps() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until the step in flight is whole, so that the checkpoint never holds half a step."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGINT, previous)


class _progress_bar:
    """A rich progress bar, or nothing."""

    def __init__(self, description: str, total: int, first: int, show: bool) -> None:
        self.bar: Any = None
        if show:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("loss {task.fields[loss]:.3g}"),
            )
            self.bar = Progress(*columns)
            self.task = self.bar.add_task(description, total=total, completed=first, loss=math.nan)

    def __enter__(self) -> Callable[[int, float], None]:
        if self.bar is not None:
            self.bar.start()
        return self._advance

    def _advance(self, step: int, loss: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=step, loss=loss)

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()
