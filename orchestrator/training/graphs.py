"""An optimizer step in; the same step out, which a GPU repeats as one graph in place of hundreds of launches.

A graph repeats the kernels of one step on the tensors of that step. So batches are copied into tensors that stay,
learning rates are tensors that are filled before every step, and draws come from the device's default generator, whose
seed is set outside the graph. Whatever else the host decides inside a step would be frozen, so no graph is taken on
trust: it is held against the ordinary step first, and without one the trial goes on as usual, the reason in its log.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from orchestrator.training.randomness import seeded_globals
from orchestrator.training.shards import Shards
from orchestrator.trial import Trial

log = logging.getLogger("orchestrator")

NUM_WARM_UP = 3
"""Ordinary steps before the capture: they make the optimizer's state, compile kernels and start libraries."""
OTHER_SEED = 2**61 + 1
"""Drawn from while a step is captured, so that draws of the host show in the comparison, which has the step's own."""
LOSS_TOLERANCE = 1e-3
"""How far the loss of a replayed step may be from that of the ordinary one, over the latter."""
CHANGE_TOLERANCES = {"moments": 0.02, "buffers": 0.02, "weights": 0.25}
"""The same of tensors, over the norm of what the step changes in them.

Equal kernels give equal bits, but for sums in the order in which threads end. Moments are linear in gradients; of
weights AdamW moves those whose gradient is exactly zero by its rounding, as far as the others, so they have room.
"""

Step = Callable[[Tensor, Tensor], Tensor]
"""Images and targets to the summed loss; weights, buffers, moments and averages change in place."""
Copies = Mapping[str, Sequence[Tensor]]
"""Of all that a step changes, by kind."""


class Capture(Protocol):
    """How a kind of device captures."""

    def aside(self, *, may_wait: bool) -> AbstractContextManager[None]:
        """Where the steps before the capture are made; without `may_wait`, whatever makes the host wait raises."""

    def capture(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """What repeats `step`, which is recorded and not carried out; the tensor that it returns stays the same."""


class CudaCapture:
    """Captures on a stream of its own, on which the steps before are made too, so that its libraries are ready."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()

    @contextmanager
    def aside(self, *, may_wait: bool) -> Iterator[None]:
        """As `Capture.aside`; who waits is found here, as a capture that fails half-way may spoil the generator."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        try:
            with nullcontext() if may_wait else _waiting_raises(), torch.cuda.stream(self._stream):
                yield
        finally:
            here.wait_stream(self._stream)

    def capture(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """As `Capture.capture`; threads that pin memory beside it do not disturb it, and where it fails the stream is
        the one of before, which torch 2.11 does not see to.
        """
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            total = step()

        def replay() -> Tensor:
            graph.replay()
            return total

        return replay


@contextmanager
def _waiting_raises() -> Iterator[None]:
    """Inside, what makes the host wait for the GPU raises."""
    before = torch.cuda.get_sync_debug_mode()
    _set_sync_debug_mode("error")
    try:
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode(mode)


CAPTURES: dict[str, Callable[[], Capture]] = {"cuda": CudaCapture}
"""Kinds of devices that have graphs."""


class GraphedStep:
    """The step of one trial, captured after a few ordinary ones; a batch of another size takes an ordinary one.

    Args:
        average: the moving average of `model`, where one is kept.
        capture: how the device captures.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, average: nn.Module | None, capture: Capture) -> None:
        self._model, self._optimizer, self._average = model, optimizer, average
        device = next(model.parameters()).device
        self._rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
        self._batch: tuple[Tensor, Tensor] | None = None
        self._num_steps = 0
        self._replay: Callable[[], Tensor] | None = None
        self._capture: Capture | None = capture
        """None once a graph was tried in vain."""

    @property
    def is_captured(self) -> bool:
        """Whether batches are replayed."""
        return self._replay is not None

    def run(self, step: Step, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """The result of `step`, the same in every call, on this batch, with every draw from stream `seed`."""
        if self._capture is None or not self._keep(images, labels):
            with seeded_globals(seed):
                return step(images, labels)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            rate.fill_(group["lr"])
        self._num_steps += 1
        if self._replay is not None:
            with seeded_globals(seed):
                return self._replay().clone()
        if self._num_steps > NUM_WARM_UP:
            return self._first(self._capture, step, seed)
        with seeded_globals(seed), self._capture.aside(may_wait=True):
            return self._on_kept(step)

    def _keep(self, images: Tensor, labels: Tensor) -> bool:
        """Copy the batch to where a graph reads it; False where it has another size."""
        if self._batch is None:
            self._batch = torch.empty_like(images), torch.empty_like(labels)
        if any(kept.shape != given.shape for kept, given in zip(self._batch, (images, labels), strict=True)):
            return False
        for kept, given in zip(self._batch, (images, labels), strict=True):
            kept.copy_(given)
        return True

    def _on_kept(self, step: Step, *, is_captured: bool = False) -> Tensor:
        """`step` on the batch that is kept, with learning rates as tensors; the optimizer gets its numbers back."""
        assert self._batch is not None
        groups = self._optimizer.param_groups
        numbers = [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group.update(lr=rate, capturable=is_captured)
        try:
            return step(*self._batch)
        finally:
            for group, number in zip(groups, numbers, strict=True):
                group.update(lr=number, capturable=False)

    def _first(self, capture: Capture, step: Step, seed: int) -> Tensor:
        """The step by which a graph is tried; where that fails, it is taken back and made in the ordinary way."""
        assert self._batch is not None
        before = self._copies()
        try:
            loss, reason = self._tried(capture, step, seed, before)
        except Exception as error:  # whatever a driver or a user's own code raises, the ordinary step still works
            reason = f"{type(error).__name__}: {str(error).strip()[:300]}"
        if reason is None:
            log.info("the training step is replayed as one graph")
            return loss
        self._replay = self._capture = None
        tell_why_not(reason)
        self._put_back(before)
        with seeded_globals(seed):
            return step(*self._batch)

    def _tried(self, capture: Capture, step: Step, seed: int, before: Copies) -> tuple[Tensor, str | None]:
        """The loss of the step, made once as usual and once by its graph, and what is against the graph, or None."""
        places = self._places()
        with seeded_globals(seed), capture.aside(may_wait=False):
            expected_loss = self._on_kept(step)
        if self._places() != places:
            return expected_loss, "a step puts new tensors in the place of old ones"
        expected = self._copies()
        self._put_back(before)
        with seeded_globals(OTHER_SEED):
            self._replay = capture.capture(partial(self._on_kept, step, is_captured=True))
        with seeded_globals(seed):
            loss = self._replay().clone()
        return loss, _difference(before, expected, self._copies(), float(expected_loss), float(loss))

    def _tensors(self) -> dict[str, list[Tensor]]:
        """All that a step changes, by kind."""
        states = list(self._optimizer.state.values())
        return {
            "weights": list(self._model.parameters()),
            "buffers": list(self._model.buffers()),
            "averages": [] if self._average is None else [*self._average.parameters(), *self._average.buffers()],
            "moments": [value for state in states for name, value in state.items() if name != "step"],
            "counts": [state["step"] for state in states],
        }

    def _places(self) -> list[int]:
        return [tensor.data_ptr() for tensors in self._tensors().values() for tensor in tensors]

    def _copies(self) -> Copies:
        return {kind: [tensor.detach().clone() for tensor in tensors] for kind, tensors in self._tensors().items()}

    @torch.no_grad()
    def _put_back(self, copies: Copies) -> None:
        for kind, tensors in self._tensors().items():
            for tensor, copy in zip(tensors, copies[kind], strict=True):
                tensor.copy_(copy)


def graphed_step(
    trial: Trial, shards: Shards, model: nn.Module, optimizer: Optimizer, average: nn.Module | None
) -> GraphedStep | None:
    """The trial's step as a graph, or None and the reason in the log."""
    device = next(model.parameters()).device
    reason = why_not_graphed(trial, device, shards)
    if reason is not None:
        tell_why_not(reason)
        return None
    return GraphedStep(model, optimizer, average, CAPTURES[device.type]())


def why_not_graphed(trial: Trial, device: torch.device, shards: Shards) -> str | None:
    """What keeps the trial's step from being one graph, as far as it is known before a step is made, or None."""
    recipe = trial.train
    if device.type not in CAPTURES:
        return f"a graph needs a CUDA device, and the trial is trained on {device.type}"
    if not shards.is_alone:
        return "several workers add up their gradients outside of a graph"
    if recipe.optimizer != "adamw":
        return f"{recipe.optimizer} takes its learning rate from the host"
    if recipe.micro_batch_size is not None:
        return "a batch that is taken in parts is no short step"
    return None


def tell_why_not(reason: str) -> None:
    """Leave in the log that no graph is used, and why."""
    log.warning("the training step is not replayed as a graph: %s", reason)


def _difference(before: Copies, expected: Copies, found: Copies, expected_loss: float, loss: float) -> str | None:
    """What of a replayed step is not that of the ordinary one, or None."""
    if not abs(loss - expected_loss) <= LOSS_TOLERANCE * abs(expected_loss):
        return f"its loss is {loss:.6g}, that of the ordinary step {expected_loss:.6g}"
    for kind, tolerance in CHANGE_TOLERANCES.items():
        error, change = _distance(found[kind], expected[kind]), _distance(expected[kind], before[kind])
        if not error <= tolerance * change:
            return f"its {kind} are off by {error:.1e}, and the ordinary step changes them by {change:.1e}"
    return None


def _distance(ones: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Root of the sum of squares over all tensors but those that count."""
    pairs = [(one, other) for one, other in zip(ones, others, strict=True) if one.is_floating_point()]
    return math.sqrt(sum(float((one.double() - other.double()).square().sum()) for one, other in pairs))
