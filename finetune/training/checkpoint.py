"""A training's state at the end of an epoch as named arrays, and back, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Arrays = dict[str, npt.NDArray[Any]]
Groups = dict[str, dict[str, Tensor]]


def packed(groups: Mapping[str, Mapping[str, Tensor]]) -> Arrays:
    """All tensors under `group/name`, to be written before the next step: the same memory.

    Copies of what lies otherwise in memory; of all of it they were four networks more.
    """
    return {
        # not ascontiguousarray, which turns a scalar into a vector
        f"{group}/{name}": np.require(tensor.detach().cpu().numpy(), requirements="C")
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }


def unpacked(arrays: Arrays) -> Groups:
    """The groups that `packed` was given, on the CPU."""
    groups: Groups = {}
    for full, array in arrays.items():
        group, _, name = full.partition("/")
        groups.setdefault(group, {})[name] = torch.from_numpy(array.copy())
    return groups


def machinery(optimiser: torch.optim.Optimizer, generator: torch.Generator) -> Groups:
    """What the next step depends on beside the weights: moments, and where chance stands."""
    chance = {"generator": generator.get_state(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        chance["cuda"] = torch.cuda.get_rng_state()
    moments = optimiser.state_dict()["state"]
    return {"chance": chance} | {f"optimiser {i}": state for i, state in moments.items()}


def restore_machinery(
    groups: Groups, optimiser: torch.optim.Optimizer, generator: torch.Generator
) -> None:
    """Put back what `machinery` took; rates are not among it, each step sets them."""
    whole = optimiser.state_dict()
    tuned = [p for group in optimiser.param_groups for p in group["params"]]
    whole["state"] = {
        i: {name: _laid_out_as(tuned[i], t) for name, t in groups[f"optimiser {i}"].items()}
        for i in range(len(tuned))
        if f"optimiser {i}" in groups
    }
    optimiser.load_state_dict(whole)
    generator.set_state(groups["chance"]["generator"])
    torch.set_rng_state(groups["chance"]["torch"])
    if "cuda" in groups["chance"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["chance"]["cuda"])


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """With the parameter's strides, since another order in memory may round otherwise."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype).detach().copy_(tensor)
