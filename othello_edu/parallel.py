"""The gradient of one batch of games, by several threads of a process and by several processes.

Networks of this size are made of products that take well under a millisecond. Threads that share each
product spend their time waiting for one another; so every thread takes games of its own, runs the whole
network on them, and the gradients are added up once a step. Processes that `torchrun` has started do
the same, and add up theirs through torch.distributed, of which `Processes` is all that others see.

See Also:
    Chapter 4, :doc:`/notebooks/04_training`; on a cluster, :doc:`/book/for_instructors`.
"""

import copy
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed
from torch.nn import functional as F

from .errors import OthelloEduError
from .games import PADDING
from .model import GPT

PRECISIONS = ("float32", "bfloat16")
SMALLEST_SLICE = 4096  # games x d_model; with less, Python takes longer to call an operation than it lasts


@dataclass(frozen=True)
class Processes:
    """The processes that train one network together, as one of them sees them.

    A process alone is one of one, and what its methods return or leave behind is its own. All processes must
    call the same methods in the same order: each waits for the others.

    Attributes:
        rank: the number of this one, from 0.
        n: how many there are.
    """

    rank: int = 0
    n: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that evaluates, logs and saves."""
        return self.rank == 0

    def any(self, condition: bool) -> bool:
        """Whether the `condition` holds in any of them."""
        if self.n == 1:
            return condition
        flag = torch.tensor(float(condition))
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag)

    def agree(self, number: int) -> bool:
        """Whether all have the same `number`."""
        of_first = torch.tensor(number)
        self.broadcast([of_first])
        return not self.any(number != int(of_first))

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite these `tensors` with those of the first process."""
        if self.n > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def all_reduce(self, tensor: torch.Tensor) -> None:
        """Overwrite a `tensor` with its sum over all processes."""
        if self.n > 1:
            distributed.all_reduce(tensor)


ALONE = Processes()


@contextmanager
def joined_processes(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the processes that `torchrun` started, if it did.

    On GPUs each process of a machine takes one of its own.

    Args:
        device: as for torch, such as "cpu" or "cuda".

    Yields:
        The processes, and the device of this one.

    Raises:
        OthelloEduError: where there are fewer GPUs than processes on a machine.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield ALONE, device
        return
    gpu = device.startswith("cuda")
    if gpu:
        local = torch.distributed.get_node_local_rank()
        if local >= torch.cuda.device_count():
            raise OthelloEduError(
                f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}; "
                "give torchrun --nproc-per-node as many, or train with --device cpu"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    # Gradients on GPUs go through NCCL; what is agreed on between steps stays on the CPU.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()


class BatchGradient:
    """Puts the gradient of a batch's mean loss into the parameters of a model.

    All gradients lie in one flat tensor, of which the parameters' `.grad` are views: it is added up in one
    operation.

    Args:
        model: whose parameters get the gradient.
        precision: "float32", or "bfloat16" for the products of activations and weights (the weights
            themselves, attention on a CPU, and the residual stream stay in float32).
        batch_size: games of a batch, in all processes together.
        compiled: through torch.compile.
        processes: those that share each batch.
    """

    def __init__(
        self,
        model: GPT,
        precision: str,
        batch_size: int,
        compiled: bool = False,
        processes: Processes = ALONE,
    ):
        self.device, self.precision = next(model.parameters()).device, precision
        self.processes, self.n_threads = processes, torch.get_num_threads()
        work = batch_size // processes.n * model.config.d_model
        # Dropout draws from one generator: threads would draw in an order of their own, never the same twice.
        # And torch.compile can trace in one thread only.
        single_thread = self.device.type != "cpu" or model.config.dropout > 0 or compiled
        n_slices = 1 if single_thread else max(1, min(self.n_threads, work // SMALLEST_SLICE))
        replicas = [model, *(_replica(model) for _ in range(n_slices - 1))]
        sizes = [parameter.numel() for parameter in model.parameters()]
        self.flat = [torch.zeros(sum(sizes) + 1, device=self.device) for _ in replicas]  # and the loss
        self.gradients = [
            [
                (parameter, part.view_as(parameter))
                for parameter, part in zip(replica.parameters(), flat[:-1].split(sizes), strict=True)
            ]
            for replica, flat in zip(replicas, self.flat, strict=True)
        ]
        self.forwards = [torch.compile(replica) if compiled else replica for replica in replicas]
        self.pool = ThreadPoolExecutor(n_slices) if n_slices > 1 else None

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Add up the gradient of a batch, of which each process reads its share.

        Args:
            inputs: tokens int64 [n_games, T] of the whole batch, the same in every process.
            targets: what comes next, as tokens int64 [n_games, T] (0 where nothing does) or as distributions
                over tokens, float [n_games, T, vocabulary] (all 0 where nothing does).

        Returns:
            The cross-entropy of the whole batch, nats per move.
        """
        counted = targets != PADDING if targets.ndim == 2 else targets.any(-1)
        n_targets = int(counted.sum())
        slices = zip(self._slices(inputs), self._slices(targets), strict=True)
        if self.pool is None:
            self._slice(0, *next(slices), n_targets)
        else:
            n_threads = self.n_threads // len(self.flat)
            tasks = [
                self.pool.submit(self._slice, index, *pair, n_targets, n_threads)
                for index, pair in enumerate(slices)
            ]
            try:
                for task in tasks:
                    task.result()
            finally:  # what a thread sets for itself is the default of threads to come as well
                torch.set_num_threads(self.n_threads)
        total = self.flat[0]
        for gradient in self.flat[1:]:
            total += gradient
        self.processes.all_reduce(total)
        return total[-1].clone()

    def _slices(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What each thread of this process reads of a batch."""
        share = torch.tensor_split(batch, self.processes.n)[self.processes.rank]
        return torch.tensor_split(share.to(self.device, non_blocking=True), len(self.flat))

    def _slice(
        self,
        index: int,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        n_targets: int,
        n_threads: int | None = None,
    ) -> None:
        if n_threads is not None:
            torch.set_num_threads(n_threads)  # of this thread
        flat = self.flat[index]
        flat.zero_()
        for parameter, gradient in self.gradients[index]:  # again, in case somebody has set them to None
            parameter.grad = gradient
        if len(inputs) == 0:  # the last batch may have fewer games than there are processes
            return
        bfloat16 = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            logits = self.forwards[index](inputs).flatten(0, 1).float()
        # Of distributions, rows of zeros add nothing.
        ignored: dict[str, Any] = {"ignore_index": PADDING} if targets.ndim == 2 else {}
        total = F.cross_entropy(logits, targets.flatten(0, 1), reduction="sum", **ignored)
        loss = total / max(1, n_targets)
        loss.backward()
        flat[-1] = loss.detach()


def _replica(model: GPT) -> GPT:
    """Another model with the same weights in memory, and gradients of its own."""
    replica = copy.deepcopy(model)
    for copied, original in zip(replica.parameters(), model.parameters(), strict=True):
        copied.data = original.data
    return replica


def fastest_precision(device: str) -> str:
    """The precision in which this machine multiplies matrices faster, on a `device` such as "cpu" or "cuda".

    On CPUs both are tried, and bfloat16 must be half as fast again, since it needs copies; of GPUs it is
    enough that they have units for it.
    """
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device != "cpu":
        return "float32"
    x, weight = torch.ones(1024, 128), torch.ones(512, 128)
    operands = {name: (x.to(getattr(torch, name)), weight.to(getattr(torch, name))) for name in PRECISIONS}
    seconds = dict.fromkeys(PRECISIONS, float("inf"))
    for _ in range(20):  # in turns, and the shortest of each: other work on the machine only adds
        for name, (left, right) in operands.items():
            start = time.perf_counter()
            left @ right.T
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return "float32" if seconds["float32"] < 1.5 * seconds["bfloat16"] else "bfloat16"
