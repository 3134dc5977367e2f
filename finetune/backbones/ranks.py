"""The processes that `torchrun` started for one training: each computes its share of the work.

Every process (rank) tells the same story from the same images and options. What costs time is
shared: features, decoded pictures, gradients and validation logits are computed by one rank each
and exchanged. What a clock or a file says is asked of rank 0 alone (`agreed`), so that all decide
the same. Rank 0 alone prints and writes. Outside of `joined`, and after `left`, there is one rank:
then nothing is exchanged, and torch is not loaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from finetune.records.errors import LostRankError, UsageError, first_line

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
# What is exchanged waits so long for a rank; rank 0 writes an epoch within a few seconds.
PATIENCE = timedelta(minutes=10)
BLOCK_BYTES = 64_000_000  # exchanged at once


@dataclass
class _World:
    """How many ranks there are, and which of them this is."""

    size: int = 1
    rank: int = 0


_world = _World()


def size() -> int:
    """How many ranks share the work."""
    return _world.size


def rank() -> int:
    """The number of this one."""
    return _world.rank


def asked() -> int:
    """How many ranks `torchrun` started; 1 where it did not start this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def here() -> int:
    """How many of them share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if asked() > 1 else 1


def is_helper() -> bool:
    """Whether this process was started to help another one, which alone answers."""
    return asked() > 1 and os.environ["RANK"] != "0"


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Share the work inside with the ranks that `torchrun` started, where it did.

    Args:
        device: `auto`, `cpu` or `cuda`; of several GPUs each rank on a machine takes its own.

    Raises:
        UsageError: no way to exchange anything on such a device.
        LostRankError: the others do not come.
    """
    if asked() == 1:
        yield
        return
    import torch  # noqa: PLC0415 - takes seconds
    from torch import distributed  # noqa: PLC0415 - as above

    if not distributed.is_available() or device == "mps":
        raise UsageError(
            f"several processes cannot train together on {device} with this torch",
            hint="Leave out torchrun, or give --device cpu.",
        )
    cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with _told():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    _world.size, _world.rank = distributed.get_world_size(), distributed.get_rank()
    try:
        yield
    finally:
        left()
        distributed.destroy_process_group()


def left() -> None:
    """From here on this process works alone: what follows is of rank 0, or of a fault."""
    _world.size, _world.rank = 1, 0


def agreed(value: T) -> T:
    """What rank 0 has: of a measured time, or of what was kept, each rank has its own."""
    if size() == 1:
        return value
    from torch import distributed  # noqa: PLC0415 - loaded by `joined`

    found = [value]
    with _told():
        distributed.broadcast_object_list(found, src=0)
    return found[0]


def of_one(work: Callable[[], T]) -> T:
    """What rank 0 makes of some work alone, while the others wait."""
    if size() == 1:
        return work()
    whole, value = replace(_world), None
    if whole.rank == 0:
        left()
        try:
            value = work()
        finally:
            _world.size, _world.rank = whole.size, whole.rank
    return cast(T, agreed(value))


def gathered(value: T) -> list[T]:
    """What each rank has, in their order."""
    if size() == 1:
        return [value]
    from torch import distributed  # noqa: PLC0415 - loaded by `joined`

    found: list[Any] = [None] * size()
    with _told():
        distributed.all_gather_object(found, value)
    return found


def share(count: int, of: int | None = None) -> slice:
    """Which of so many things in a row are this rank's (or another's), as even as can be."""
    number = rank() if of is None else of
    bounds = [count * r // size() for r in (number, number + 1)]
    return slice(*bounds)


def exchange(rows: Any) -> None:
    """Give the others this rank's `share` of the rows of an array, and take theirs.

    Args:
        rows: Of any shape [N, ...], and alike on every rank; perhaps larger than memory.
    """
    if size() == 1:
        return
    import torch  # noqa: PLC0415 - loaded by `joined`
    from torch import distributed  # noqa: PLC0415 - as above

    count = len(rows)
    for owner in range(size()):
        part = share(count, owner)
        one = rows[part.start : part.start + 1]
        step = max(1, BLOCK_BYTES // max(1, one.nbytes))
        for start in range(part.start, part.stop, step):
            numbers = np.arange(start, min(start + step, part.stop))
            block = torch.from_numpy(np.ascontiguousarray(rows[numbers]))
            with _told():
                distributed.broadcast(block, src=owner)
            if owner != rank():
                rows[numbers] = block.numpy()


def joint(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """This rank's `share` of some rows → all of them, from every rank."""
    return rows if size() == 1 else np.concatenate(gathered(rows))


def add_up(tensors: Iterable[Tensor]) -> None:
    """Each tensor becomes the sum of what the ranks have."""
    if size() == 1:
        return
    import torch  # noqa: PLC0415 - loaded by `joined`
    from torch import distributed  # noqa: PLC0415 - as above

    by_type: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        by_type.setdefault(tensor.dtype, []).append(tensor)
    for some in by_type.values():
        flat = torch.cat([t.reshape(-1) for t in some])
        with _told():
            distributed.all_reduce(flat)
        start = 0
        for tensor in some:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()


def follow(tensors: Sequence[Tensor]) -> None:
    """Each tensor becomes what rank 0 has."""
    if size() == 1:
        return
    from torch import distributed  # noqa: PLC0415 - loaded by `joined`

    with _told():
        for tensor in tensors:
            distributed.broadcast(tensor, src=0)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A rank that is gone is a fault of the training, after which this one works alone.

    Raises:
        LostRankError: in place of what the exchange raises.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        which = f"rank {rank()} of {size()}"
        left()
        raise LostRankError(
            f"another process of this training ended or does not answer ({which}: "
            f"{first_line(error)})",
            hint="Give the same command with --resume to go on, with as many processes as wanted.",
        ) from error
