"""The story of `check`: every check, nothing learnt; torch-free."""

from __future__ import annotations

import time

from finetune.data import examination
from finetune.records import options as options_of
from finetune.records.answers import Health
from finetune.records.errors import safe_name
from finetune.records.events import Listener
from finetune.records.options import Options


def run_check(options: Options, listener: Listener) -> Health:
    """`finetune check DIR`: every check, a ready-made test included, nothing learnt."""
    options_of.check(options)
    began = time.perf_counter()
    listener.step(f"reading and checking {options.data.root}")
    found = examination.examine(
        options.data, options.training.seed, listener.progress, with_test=True
    )
    splits = found.splits
    return Health(
        data=safe_name(options.data.root),
        classes=found.dataset.classes,
        layout=found.dataset.layout,
        counts={"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)},
        checks=found.checks,
        seconds=time.perf_counter() - began,
    )
