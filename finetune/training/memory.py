"""How much memory a training takes on a CPU, and how much there is: what is too large is refused.

A GPU says when its memory is full, and batches are then split (`state.Loop`); a computer's system
ends the process instead.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.backbones import ranks
from finetune.records.decision import Plan
from finetune.records.errors import MemoryShortError, out_of_memory

if TYPE_CHECKING:
    from finetune.training.state import Loop

MEMINFO = Path("/proc/meminfo")
# A limit below the machine's own, in a container: control groups of version 2, then 1.
GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
SHARE = 0.8  # of what is free: other programs want some, and allocators round up
MOMENTS = {"sgd": 1, "adam": 2, "adamw": 2, "adadelta": 2, "adagrad": 1}
# Copies of what is tuned: its gradients, what one step needs beside them (measured on VGG-11), the
# best epoch's weights, and of these and today's the bytes that are written for --resume, each
# moment's too.
COPIES = 5
# By what the activations kept for backward are multiplied: their gradients live beside them for a
# while. Measured: docs/log.md, 2026-11-26, "Memory of large networks".
BESIDE = 1.5
GB = 1e9


def available() -> int | None:
    """Bytes that are free for this process, its share where ranks share a machine.

    None where the system does not tell.
    """
    found = [n for n in (_machine(), *(_group(*files) for files in GROUPS)) if n is not None]
    return min(found) // ranks.here() if found else None


def parts(loop: Loop) -> int:
    """In how many parts a batch has to go through the network to fit into memory.

    Args:
        loop: As `setup.make_loop` has it; nothing of it is changed.

    Raises:
        MemoryShortError: not even one image fits.
    """
    free = None if loop.device.type != "cpu" else available()
    if free is None:
        return 1
    try:
        weights, image = needed(loop)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return 1  # the first step says so, with the size of the images
    room = SHARE * free - weights
    if room < image:
        raise MemoryShortError(
            f"not enough memory: {loop.plan.strategy} of this backbone takes "
            f"{(weights + image) / GB:.1f} GB ({weights / GB:.1f} GB beside the weights and "
            f"{image / GB:.2f} GB for one image of {loop.plan.side_px} px), and of "
            f"{free / GB:.1f} GB that are free it may take {SHARE * free / GB:.1f} GB",
            hint="Give --strategy linear-probe, a smaller --image-size, another --backbone, or "
            "free memory.",
        )
    return math.ceil(loop.plan.batch_size / (room // max(1, image)))


def told(plan: Plan, number: int) -> str:
    """That batches are split, in words."""
    size = math.ceil(plan.batch_size / number)
    return (
        f"memory is short: batches of {plan.batch_size} are split into parts of {size}, whose "
        "gradients add up to the same update"
    )


def needed(loop: Loop) -> tuple[int, int]:
    """Bytes that training adds: for the tuned weights, and for each image of a batch."""
    tuned = sum(
        p.numel() * p.element_size() for g in loop.optimiser.param_groups for p in g["params"]
    )
    weights = tuned * (COPIES + 2 * MOMENTS[loop.plan.optimiser])
    return weights, math.ceil(BESIDE * _kept_for_backward(loop))


def _kept_for_backward(loop: Loop) -> int:
    """Bytes that one image leaves in memory until its gradients are there, measured on a blank."""
    import torch  # noqa: PLC0415 - takes seconds; what is free is known without it

    own = {t.untyped_storage().data_ptr() for t in loop.backbone.state_dict().values()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    side = loop.plan.side_px
    blank = torch.zeros(1, side, side, 3, dtype=torch.uint8, device=loop.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loop.features(loop.backbone.normalise(blank))
    return sum(kept.values())


def _machine() -> int | None:
    """What the machine has free, caches that may be dropped counted in."""
    try:
        for line in MEMINFO.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):  # not Linux
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # macOS, Windows
        return None


def _group(limit: str, used: str) -> int | None:
    """What is left of a container's limit; None without one."""
    try:
        most, now = (int(Path(file).read_text("ascii")) for file in (limit, used))
    except (OSError, ValueError):  # no such group, or "max"
        return None
    return max(0, most - now)
