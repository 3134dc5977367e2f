"""The place of one fit's progress."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy.typing as npt

from finetune.records.codec import from_json, to_json
from finetune.records.errors import RunError
from finetune.records.training import FitProgress
from finetune.runs.places import told
from finetune.storage import atomic_files

# An epoch is kept when so many times the seconds have passed that keeping one takes, which costs a
# twentieth of the time at most.
PAUSE = 20


@dataclass
class Slot:
    """The place of one fit's progress: a single file, so that it is whole or absent.

    `final` says that the fit gives the model itself, and not only a proof of its recipe.
    """

    file: Path
    final: bool = False
    _ready: float = field(default=0.0, init=False)

    def read(self) -> tuple[dict[str, npt.NDArray[Any]], FitProgress] | None:
        """The arrays and facts of the last epoch kept; None where there is none.

        Raises:
            RunError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - only to tune

        if not self.file.exists():
            return None
        try:
            with safe_open(self.file, framework="np") as content:
                facts = from_json((content.metadata() or {})["facts"], FitProgress)
                names = content.keys()
                return {name: content.get_tensor(name) for name in names}, facts
        except (OSError, SafetensorError, KeyError, msgspec.MsgspecError) as error:
            raise RunError(
                f"cannot read {self.file}: {error}",
                hint=f"Remove {self.file.parent} and train again.",
            ) from error

    @property
    def due(self) -> bool:
        """Whether so much was done since the last epoch that was kept that it is worth its time."""
        return time.monotonic() >= self._ready

    def keep(self, arrays: dict[str, npt.NDArray[Any]], facts: FitProgress) -> None:
        """Replace what was kept.

        Raises:
            RunError: the disk is full, or the place cannot be written; what was kept stays.
        """
        began = time.monotonic()
        from safetensors.numpy import save  # noqa: PLC0415 - only to tune

        with told(self.file.parent):
            atomic_files.put(self.file, save(arrays, metadata={"facts": to_json(facts)}))
        now = time.monotonic()
        self._ready = now + PAUSE * (now - began)
