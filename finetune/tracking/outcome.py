"""What trackers are told of a training: flat names and values, and the files of its run."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from finetune.metrics import mistakes
from finetune.records import option_table
from finetune.records.codec import to_builtins
from finetune.records.decision import Plan
from finetune.records.file_names import REPORT, RESULT
from finetune.records.options import Options, flat
from finetune.records.run import RunResult
from finetune.records.target_result import TargetResult
from finetune.records.training import EpochRecord

Value = str | int | float | bool
Parameters = dict[str, Value]
_MOST_CLASSES = 200
_MOST_TEXT = 500  # of one parameter; MLflow takes 6,000, W&B any
_RATES = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")
_TARGET_RATES = ("map", "micro_f1", "macro_f1", "log_loss", "r2", "mae", "rmse", "baseline")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a training.

    `parameters` are those of the plan; `metrics` rates as fractions of 1, seconds and numbers of
    images; `confusion` a CSV text, true classes in rows, empty where nothing was measured; `files`
    are those of the run that a person looks into, `summary` its result in a sentence.
    """

    run: Path
    parameters: Parameters
    metrics: dict[str, float]
    classes: tuple[str, ...]
    confusion: str
    files: tuple[Path, ...]
    summary: str


def asked(options: Options) -> Parameters:
    """The options of a training; what was left to a rule is told by its plan."""
    request = to_builtins(flat(options))
    overrides = request.pop("options")
    given = {**request, **overrides}
    return {
        f"option.{option_table.flag(name).removeprefix('--')}": _value(value)
        for name, value in given.items()
        if value is not None and name not in ("command", "resume", "root")
    } | {"data": _value(request["root"]), "command": _value(request["command"])}


def of(result: RunResult | TargetResult) -> Outcome:
    """What a training has come to."""
    if isinstance(result, TargetResult):
        return _of_target(result)
    measured = result.test or result.estimate
    run = Path(result.run)
    metrics = {
        f"{name}.{rate}": float(getattr(found, rate))
        for name, found in (("test", result.test), ("estimate", result.estimate))
        if found is not None
        for rate in _RATES
    }
    metrics |= {f"seconds.{name}": float(s) for name, s in result.seconds.items()}
    metrics |= {f"images.{name}": float(count) for name, count in result.counts.items()}
    files = tuple(path for name in (REPORT, RESULT) if (path := run / name).is_file())
    where = "test images" if result.test is not None else result.estimate_source
    return Outcome(
        run=run,
        parameters={
            "strategy": result.strategy,
            "backbone": result.backbone,
            **_plan(result.recommendation.plan),
        },
        metrics=metrics,
        classes=result.classes,
        confusion=_confusion(result),
        files=files,
        summary=f"{result.strategy}: {measured.accuracy:.1%} accuracy on {measured.n} {where}",
    )


def _of_target(result: TargetResult) -> Outcome:
    """What a training of labels or numbers has come to; there is no confusion."""
    run = Path(result.run)
    metrics = {
        f"{name}.{key}": float(value)
        for name, found in (("test", result.test), ("estimate", result.estimate))
        if found is not None
        for key in _TARGET_RATES
        if (value := getattr(found, key)) is not None
    }
    metrics |= {f"seconds.{name}": float(s) for name, s in result.seconds.items()}
    metrics |= {f"images.{name}": float(count) for name, count in result.counts.items()}
    return Outcome(
        run=run,
        parameters={
            "strategy": result.strategy,
            "backbone": result.backbone,
            **_plan(result.plan),
        },
        metrics=metrics,
        classes=result.names,
        confusion="",
        files=tuple(path for name in (REPORT, RESULT) if (path := run / name).is_file()),
        summary=f"{result.strategy}: {result.verdict}",
    )


def curves(record: EpochRecord) -> dict[str, float]:
    """The points of an epoch, by the names of their curves."""
    found = {
        "train_loss": record.train_loss,
        "val_loss": record.val_loss,
        "val_accuracy": record.val_accuracy,
        "lr": record.lr,
        "seconds": record.seconds,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _plan(plan: Plan) -> Parameters:
    """The settings of a plan without their reasons."""
    found = to_builtins(plan)
    found.pop("why")
    augment = found.pop("augment") or {}
    named = {f"plan.{name}": value for name, value in found.items()}
    named |= {f"plan.augment.{name}": value for name, value in augment.items()}
    return {name: _value(value) for name, value in named.items() if value is not None}


def _confusion(result: RunResult) -> str:
    """The matrix; with very many classes what is not zero in it, a row each."""
    cells = mistakes.cells(result.test or result.estimate).tolist()
    names = result.classes
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if len(names) > _MOST_CLASSES:
        writer.writerow(["true class", "answer", "images"])
        writer.writerows([names[true], names[answer], count] for true, answer, count in cells)
        return text.getvalue()
    counts = {(true, answer): count for true, answer, count in cells}
    writer.writerow(["true class", *names])
    for row, name in enumerate(names):
        writer.writerow([name, *(counts.get((row, c), 0) for c in range(len(names)))])
    return text.getvalue()


def _value(value: object) -> Value:
    """A plain value; anything else as text, a long one cut."""
    if isinstance(value, bool | int | float):
        return value
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"
