"""The same as the commands, for Python: train, recommend, compare, check, evaluate and so on.

Records come back as the commands' `--json` has them. Nothing is printed unless a listener is given,
and nothing of the process is changed.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from finetune.records import durations, option_table
from finetune.records.events import Listener, Silent
from finetune.records.keywords import (
    CheckKeywords,
    CompareKeywords,
    DoubtKeywords,
    RecommendKeywords,
    TrainKeywords,
)
from finetune.records.options import Options, Request, resolved
from finetune.records.unsure import DoubtOptions

if TYPE_CHECKING:
    from finetune.deploy.model import Model
    from finetune.records.answers import Advice, Comparison, Evaluation, Exported, Health
    from finetune.records.choices import Format
    from finetune.records.explanation import Explanation
    from finetune.records.labels import Suggestions
    from finetune.records.run import RunResult
    from finetune.records.target_result import TargetEvaluation, TargetResult

Place = str | os.PathLike[str]
# Options of the command line that say what it shows, or where it writes beside its answer.
SHOWN = frozenset({"json", "verbose", "quiet", "errors", "csv_file", "label_studio"})


def train(
    data: Place | None = None,
    *,
    listener: Listener | None = None,
    **options: Unpack[TrainKeywords],
) -> RunResult | TargetResult:
    """Train a classifier on a folder of images and prove it on images it never saw.

    Args:
        data: The folder; None with `from_run`, whose folder is taken then.
        listener: Hears of progress.
        options: As of `finetune train`, a low line for each hyphen.

    Returns:
        What was kept: `run` is its folder, `strategy` what was done, `test` its metrics. Ctrl-C
        ends a training early, and `stopped` says so. A TargetResult of labels or numbers.

    Raises:
        FinetuneError: a fault that can be mended; its message and hint say how.
        TypeError: an option that there is not.
    """
    from finetune.workflows.tracked import run_tracked  # noqa: PLC0415 - when asked for
    from finetune.workflows.train import repetition  # noqa: PLC0415

    asked, given = _asked("train", data, dict(options))
    like = options.get("from_run")
    if like is not None:
        asked = repetition(Path(like), asked, given)
    elif data is None:
        raise TypeError("train() needs a folder of images, or from_run")
    track = options.get("track", ())
    return run_tracked(
        asked,
        listener or Silent(),
        None if like is None else Path(like),
        track=[track] if isinstance(track, str) else track,
    )


def recommend(
    data: Place, *, listener: Listener | None = None, **options: Unpack[RecommendKeywords]
) -> Advice:
    """Say which way of transfer fits a folder and why; nothing is trained. As `train` otherwise."""
    from finetune.workflows.recommend import run_recommendation  # noqa: PLC0415 - when asked for

    return run_recommendation(_asked("recommend", data, dict(options))[0], listener or Silent())


def compare(
    data: Place, *, listener: Listener | None = None, **options: Unpack[CompareKeywords]
) -> Comparison:
    """Train every strategy on one split of a folder. As `train` otherwise."""
    from finetune.workflows.compare import run_comparison  # noqa: PLC0415 - when asked for

    return run_comparison(_asked("compare", data, dict(options))[0], listener or Silent())


def check(
    data: Place, *, listener: Listener | None = None, **options: Unpack[CheckKeywords]
) -> Health:
    """Say what is wrong with the images of a folder, with `labels` also with their labels.

    As `train` otherwise; of labels are `backbone` and `device`.
    """
    from finetune.workflows.check import run_check  # noqa: PLC0415 - when asked for

    asked, _ = _asked("check", data, dict(options))
    return run_check(asked, listener or Silent(), labels=options.get("labels", False))


def evaluate(  # noqa: PLR0913 - what a person can ask for
    data: Place,
    run: Place | None = None,
    *,
    unseen: bool = False,
    device: str = "auto",
    label_from: str | None = None,
    label_column: str | None = None,
    group: str | None = None,
    listener: Listener | None = None,
    **doubts: Unpack[DoubtKeywords],
) -> Evaluation | TargetEvaluation:
    """Measure a run on labelled images.

    Args:
        data: Their folder.
        run: The run's; None for the newest below `runs`.
        unseen: Leave out images the run was trained on.
        device: `auto`, `cpu`, `cuda`, `mps`.
        label_from: As of `finetune evaluate`, as is the next.
        label_column: The table's column of labels.
        group: Images in whose names it finds the same count as one for the interval.
        listener: Hears of progress.
        doubts: `min_confidence`, `target_error`, `coverage`, `unknown`, as of `finetune evaluate`.
    """
    from finetune.workflows.evaluate import run_evaluation  # noqa: PLC0415 - when asked for

    return run_evaluation(
        Path(data),
        None if run is None else Path(run),
        device=device,
        unseen=unseen,
        listener=listener or Silent(),
        label_from=label_from,
        label_column=label_column,
        group=group,
        doubts=_doubts(doubts),
    )


def suggest(
    run: Place,
    folder: Place,
    *,
    count: int = 50,
    device: str = "auto",
    listener: Listener | None = None,
) -> Suggestions:
    """Say which images of a folder to label next: by doubt and variety, near duplicates once.

    Args:
        run: The run's folder.
        folder: Images without labels.
        count: How many.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.
    """
    from finetune.workflows.suggest import run_suggestion  # noqa: PLC0415 - when asked for

    return run_suggestion(
        Path(run), Path(folder), count=count, device=device, listener=listener or Silent()
    )


def export(
    run: Place,
    format: Format = "onnx",
    out: Place | None = None,
    *,
    images: Place | None = None,
    int8: bool = False,
    max_loss: float = 1.0,
    listener: Listener | None = None,
) -> Exported:
    """Write a run for other programs, checked on pictures against `predict`, or not written.

    Args:
        run: Its folder.
        format: `onnx`, `openvino`, `pt2`, `hub` or `triton`.
        out: Where to write; beside the run where None.
        images: Pictures to check on; the run's own where None.
        int8: Layers in 8 bits; what they lose on held-out images is measured.
        max_loss: Points of accuracy (of labels mAP), the most that may be lost; of numbers the
            percent by which RMSE may rise.
        listener: Hears of progress.
    """
    from finetune.workflows.export import run_export  # noqa: PLC0415 - when asked for

    option_table.check({"format": format, "max_loss": max_loss})
    return run_export(
        Path(run),
        format,
        None if out is None else Path(out),
        images=None if images is None else Path(images),
        int8=int8,
        max_loss=max_loss,
        listener=listener or Silent(),
    )


def explain(
    run: Place,
    images: Place | Sequence[Place],
    *,
    out: Place | None = None,
    label: str | None = None,
    device: str = "auto",
    listener: Listener | None = None,
) -> list[Explanation]:
    """Show where the evidence for a run's answers lies: a record and a PNG for each image.

    Args:
        run: Its folder.
        images: A file, a folder, or several.
        out: The folder of the PNGs; beside the run where None.
        label: The class to explain; each image's answer where None.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.

    Returns:
        In the order of the files; `model.explain` does the same for images in memory.
    """
    from finetune.workflows.explain import run_explanation  # noqa: PLC0415 - when asked for

    several = [images] if isinstance(images, str | os.PathLike) else images
    return run_explanation(
        Path(run),
        [Path(image) for image in several],
        out=None if out is None else Path(out),
        label=label,
        device=device,
        listener=listener or Silent(),
    )


def load(
    run: Place | None = None,
    *,
    device: str = "auto",
    listener: Listener | None = None,
    **doubts: Unpack[DoubtKeywords],
) -> Model:
    """A run that answers: `predict`, `logits` and `features` of files, images and arrays.

    Args:
        run: Its folder; None for the newest below `runs`.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears why where torch has to be loaded.
        doubts: `min_confidence`, `target_error`, `coverage`, `unknown`, as of `finetune predict`.
    """
    from finetune.backbones import prepared  # noqa: PLC0415 - when asked for
    from finetune.deploy import model  # noqa: PLC0415
    from finetune.runs import listing  # noqa: PLC0415

    prepared.require_device(device)
    return model.open_run(
        *(listing.latest() if run is None else Path(run), device, listener or Silent()),
        _doubts(doubts),
    )


def _doubts(given: DoubtKeywords) -> DoubtOptions:
    option_table.check(given)
    return DoubtOptions(**given)


def keywords(command: Literal["train", "recommend", "compare", "check"]) -> dict[str, str]:
    """The keywords of a command, and the names under which a run keeps them."""
    return {
        option.flag.removeprefix("--").replace("-", "_"): option.name
        for rows in option_table.of(command).values()
        for option in rows
        if option.name not in SHOWN
    }


def _asked(
    command: Literal["train", "recommend", "compare", "check"],
    data: Place | None,
    given: Mapping[str, Any],
) -> tuple[Options, frozenset[str]]:
    """What a workflow gets, and the names of the options that were given."""
    from finetune.backbones.registry import DEFAULT  # noqa: PLC0415 - when asked for
    from finetune.runs.start import as_start  # noqa: PLC0415

    known = keywords(command)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; is {close[0]} meant?" if close else f"; there are {', '.join(known)}"
            raise TypeError(f"{command}() has no option {name}{hint}")
    values = {
        known[name]: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in given.items()
    }
    for name, read in (("budget_s", durations.seconds), ("max_latency_s", durations.latency)):
        if isinstance(values.get(name), str):
            values[name] = read(values[name])
    option_table.check(values)
    plain = {f.name for f in fields(Request)}
    if values.get("backbone") is None:
        origin = as_start(values.get("start_from") or values.get("weights"))
        values["backbone"] = DEFAULT if origin is None else origin.backbone
    asked = Request(
        root="" if data is None else os.fspath(data),
        **{name: value for name, value in values.items() if name in plain},
        options={
            name: value
            for name, value in values.items()
            if name in option_table.OVERRIDES and value is not None
        },
        command=f"finetune.{command}({_spoken(data, given)})",
    )
    return resolved(asked), frozenset(known[name] for name in given)


def _spoken(data: Place | None, given: Mapping[str, Any]) -> str:
    """The arguments as they would be written."""
    said = [] if data is None else [repr(os.fspath(data))]
    for name, value in given.items():
        plain = os.fspath(value) if isinstance(value, os.PathLike) else value
        said.append(f"{name}={plain!r}")
    return ", ".join(said)
