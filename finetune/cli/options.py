"""The options of the command line, and the request they make."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from finetune.cli import durations

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON on stdout, nothing else.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="A run folder; default: the newest in ./runs.")
]
Size = Annotated[
    Literal["small", "large"] | None, typer.Option(help="Amount of data; default: measured.")
]
Kind = Annotated[
    Literal["similar", "different"] | None,
    typer.Option("--similarity", help="Likeness to ImageNet; default: measured."),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="Any timm model, alexnet or lenet5; default: tf_efficientnet_lite0, or the run's that "
        "--weights names."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A local checkpoint, a run to start from, or `random`; default: the backbone's "
        "pretrained ones."
    ),
]
Seed = Annotated[
    int,
    # what the generators of numpy and torch take alike
    typer.Option(min=0, max=2**63 - 1, help="Another seed is another split and another order."),
]
MaxPerClass = Annotated[
    int | None, typer.Option(help="Use at most so many images per class that are not test.")
]
ValFraction = Annotated[
    float, typer.Option(help="Share of the images that are not test, kept from tuning.")
]
TestFraction = Annotated[
    float, typer.Option(help="Share of all images kept for the one final test; 0 for none.")
]
BadImage = Annotated[
    Literal["skip", "error"], typer.Option(help="Leave unreadable images out, or stop.")
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Images in whose file names it finds the same (its first bracket, else all it "
        "matches) stay on one side of every split: '^(patient[0-9]+)_'.",
    ),
]
LabelFrom = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Labels are in the names of files, not of folders: what its first bracket finds, such "
        r"as '^([a-z]+)\.' in cat.0.jpg.",
    ),
]
NearCopies = Annotated[
    Literal["together", "ignore"],
    typer.Option(help="Keep near copies on one side of a split, or do not look for them."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop with exit code 3 on any warning.")]
Errors = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        metavar="FILE",
        help="Write the wrong answers to this CSV file: path, truth, answer, probability.",
        readable=False,
    ),
]
Policy = Annotated[
    Literal["measured", "table"],
    typer.Option(
        help="measured: short trials of tuning may overrule the classic table; table: its letter."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="What does not fit is not started: 90s, 10m, 1h30; default: 15m, unless you name "
        "the strategy."
    ),
]
PLAN_NAMES = frozenset(
    {
        *("epochs", "batch_size", "optimiser", "lr", "patience", "side_px", "label_smoothing"),
        *("dropout", "weight_decay", "class_weights", "crop", "flip", "rotation_deg"),
        *("translation", "stretch", "colour"),
    }
)
BY_RULE = "default: by rule, shown with its reason"
PLAN = "Plan (each default comes from a rule)"
AUGMENTATION = "Augmentation of training images (0 switches one off; --crop 1 the crop)"


def by_rule(text: str, panel: str = PLAN) -> Any:
    """An option whose default comes from a rule."""
    return typer.Option(help=f"{text}; {BY_RULE}.", rich_help_panel=panel)


def make_request(given: dict[str, Any], option_names: list[str]) -> Any:
    """What the options ask for, as one record."""
    from finetune.records.options import Request  # noqa: PLC0415

    options = {name: given[name] for name in option_names if given[name] is not None}
    plain = {
        name: value
        for name, value in given.items()
        if name not in {"directory", "out", "json", "budget", "from_run", "errors", *PLAN_NAMES}
    }
    out, root, budget = given.get("out"), given["directory"], given.get("budget")
    if "backbone" in plain:
        plain["backbone"] = _backbone(plain["backbone"], plain["weights"])
    return Request(
        root="" if root is None else str(root),
        out=None if out is None else str(out),
        budget_s=None if budget is None else durations.seconds(budget),
        options=options,
        command=shlex.join(["finetune", *sys.argv[1:]]),
        **plain,
    )


def typed(context: typer.Context) -> set[str]:
    """The names of the options that stand on the command line, or in the environment."""
    return {
        "budget_s" if name == "budget" else name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
    }


def _backbone(named: str | None, weights: str | None) -> str:
    """The backbone that was named; else that of the run whose weights are to be used."""
    from finetune.backbones.registry import DEFAULT  # noqa: PLC0415
    from finetune.runs.start import as_start  # noqa: PLC0415

    if named is not None:
        return named
    origin = as_start(weights)
    return DEFAULT if origin is None else origin.backbone
