"""What `model.safetensors` of a run holds: packed to be written, and parts of it read alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from finetune.backbones.registry import BODY, HEAD, ORIGINAL, REFERENCE
from finetune.records.errors import RunError
from finetune.records.file_names import FACTS, MODEL
from finetune.records.run import RunFacts
from finetune.runs import run_folder
from finetune.storage import untrusted_files


def pack(
    backbone: Mapping[str, npt.NDArray[Any]],
    weight: npt.NDArray[np.float32],
    bias: npt.NDArray[np.float32],
    original: Mapping[str, npt.NDArray[Any]] | None = None,
    reference: npt.NDArray[np.int8] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """All tensors of a run under their names in `model.safetensors`.

    Args:
        backbone: The network's.
        weight: The head's, float32[C,D].
        bias: The head's, float32[C].
        original: Of a blend, those of the network that the probe reads: what is the same in both
            is kept once.
        reference: Features of training images, int8[R,D]; None without.
    """
    # not ascontiguousarray, which turns a scalar into a vector
    named = {f"{BODY}{name}": t.copy(order="C") for name, t in backbone.items()}
    named |= {
        f"{ORIGINAL}{name}": t.copy(order="C")
        for name, t in (original or {}).items()
        if t.tobytes() != backbone[name].tobytes()
    }
    if reference is not None:
        named[REFERENCE] = reference.copy(order="C")
    return named | dict(zip(HEAD, (weight.copy(order="C"), bias), strict=True))


def load_reference(path: Path, facts: RunFacts) -> npt.NDArray[np.int8] | None:
    """Features of training images, int8[R, D], alone; None where the run keeps none.

    Raises:
        RunError: they are not there, or not what `run.json` says.
    """
    kept = None if facts.doubt is None else facts.doubt.unknown
    if kept is None:
        return None
    file = path / MODEL
    try:
        untrusted_files.check_tensors(file, path)
        with safe_open(file, "np") as tensors:
            found = tensors.get_tensor(REFERENCE)
    except Exception as error:  # as in `run_folder.load`
        raise run_folder.unreadable(file, error) from error
    if found.dtype != np.int8 or found.ndim != 2 or found.shape[1] != kept.stop - kept.start:
        raise RunError(
            f"{file} has no features of training images as {FACTS} says",
            hint="The run is damaged; train again.",
        )
    return np.asarray(found)
