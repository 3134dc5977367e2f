"""The story of `train --track`: the same training, told to trackers as it goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.records.run import RunResult
from finetune.records.target_result import TargetResult
from finetune.tracking import outcome, tracker
from finetune.tracking.tracker import TrackedListener
from finetune.workflows import begin, train


def run_tracked(
    options: Options, listener: Listener, like: Path | None = None, *, track: Sequence[str] = ()
) -> RunResult | TargetResult:
    """`run_training`, told to the trackers that `track` names; without any it is that alone.

    Raises:
        UsageError: a tracker that there is not, or that is not installed.
    """
    names = tracker.require(track)
    if not names:
        return train.run_training(options, listener, like)
    begin.check_options(options)  # before anything is told to anyone
    told = TrackedListener(
        listener,
        names,
        project=_named(Path(options.data.root).resolve().name),
        name=_named(_name(options)),
        parameters=outcome.asked(options),
    )
    found = None
    try:
        result = train.run_training(options, told, like)
        found = outcome.of(result)
    finally:
        told.end(found)
    return result


def _name(options: Options) -> str:
    """That of the run's folder, or the moment where that has none yet."""
    out = options.output.out
    return Path(out).name if out is not None else f"{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S}"


def _named(name: str) -> str:
    """A name that each of the trackers takes."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "finetune"
