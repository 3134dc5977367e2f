"""Every option of the command line, once: its name, what it takes, what it means, who has it.

Made from it: the command line, the ranges, the defaults of the records, docs/options.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from finetune.records.augmentation_options import AUGMENTATION
from finetune.records.backbone_options import BACKBONE
from finetune.records.errors import UsageError
from finetune.records.export_options import EXPORT
from finetune.records.option import Group, Option
from finetune.records.option_backbone import BACKBONE_OPTIONS
from finetune.records.option_decision import DECISION
from finetune.records.option_doubt import DOUBT
from finetune.records.option_pictures import PICTURES
from finetune.records.option_shard import SHARD
from finetune.records.option_tracking import TRACKING
from finetune.records.predict_options import PREDICT

DATA = "train recommend compare check features"
DECIDING = "train recommend compare features"
TRAIN = "train"
SHARE = (0.0, 0.9)
OPTIONS: dict[Group, tuple[Option, ...]] = {
    "data": (
        Option(
            name="label_from",
            commands=f"{DATA} evaluate",
            metavar="REGEX",
            help="Labels are in the names of files, not of folders: what its first bracket finds, "
            r"such as '^([a-z]+)\.' in cat.0.jpg.",
        ),
        Option(
            name="target",
            commands=DATA,
            choices=("auto", "classes", "labels", "number"),
            default="auto",
            help="What is learned of each image: one class, several labels (parted by ; in a cell) "
            "or a number; auto tells it by the column of labels.",
        ),
        Option(
            name="label_column",
            commands=f"{DATA} evaluate",
            metavar="NAME[,NAME]",
            unset="label, target, class and the like",
            help="The table's column of labels; several of numbers, or of a 0 or 1 for each label.",
        ),
        Option(
            name="group",
            commands=f"{DATA} evaluate",
            metavar="REGEX",
            help="Images in whose file names it finds the same (its first bracket, else all it "
            "matches) stay on one side of every split and count together in intervals: "
            "'^(patient[0-9]+)_'.",
        ),
        Option(
            name="near_copies",
            typed="--near-duplicates",
            old="--near-copies",
            commands=DATA,
            choices=("together", "ignore"),
            default="together",
            help="Keep near duplicates on one side of a split, or do not look for them.",
        ),
        Option(
            name="val_fraction",
            kind="float",
            commands=DATA,
            default=0.2,
            ends=SHARE,
            help="Share of the images that are not test, kept from tuning.",
        ),
        Option(
            name="test_fraction",
            kind="float",
            commands=DATA,
            default=0.2,
            ends=SHARE,
            help="Share of all images kept for the one final test; 0 for none.",
        ),
        Option(
            name="max_per_class",
            kind="int",
            commands=DATA,
            ends=(2, math.inf),
            help="Use at most so many images per class that are not test.",
        ),
        Option(
            name="on_bad_image",
            commands=DECIDING,
            choices=("skip", "error"),
            default="skip",
            help="Leave unreadable images out, or stop.",
        ),
        *PICTURES,
        Option(
            name="strict",
            kind="flag",
            commands="train recommend check",
            help="Stop with exit code 3 on any warning.",
        ),
        Option(
            name="unseen",
            kind="flag",
            commands="evaluate",
            help="Leave out images the run was trained on.",
        ),
        Option(
            name="labels",
            kind="flag",
            commands="check",
            help="Look for labels that look wrong, by a probe of the network's features.",
        ),
        Option(
            name="robustness",
            kind="flag",
            commands="evaluate",
            help="Classify at most 200 of them dark, blurred, covered, turned and so on, too.",
        ),
    ),
    "decision": (*DECISION, *DOUBT),
    "training": (
        Option(
            name="backbone",
            commands=f"{DECIDING} check",
            metavar="NAME",
            unset="tf_efficientnet_lite0, or that of the run to start from",
            help="Any timm model, alexnet or lenet5; auto chooses among those on this machine.",
        ),
        *BACKBONE_OPTIONS,
        Option(
            name="weights",
            commands=DECIDING,
            metavar="PATH",
            unset="the backbone's pretrained ones",
            help="A local checkpoint, a run whose network is taken in any case, or `random`.",
        ),
        *BACKBONE,
        Option(
            name="device",
            commands=f"{DECIDING} predict evaluate check explain suggest",
            default="auto",
            metavar="NAME",
            help="auto, cpu, cuda, cuda:1 or mps.",
        ),
        Option(
            name="seed",
            kind="int",
            commands=DATA,
            default=0,
            ends=(0, 2**63 - 1),  # what the generators of numpy and torch take alike
            help="Another seed is another split and another order.",
        ),
        Option(
            name="epochs",
            kind="int",
            commands=TRAIN,
            ends=(1, 10_000),
            by_rule=True,
            help="Passes over the training images.",
        ),
        Option(
            name="batch_size",
            kind="int",
            commands=TRAIN,
            ends=(1, 4096),
            by_rule=True,
            help="Images per step.",
        ),
        Option(
            name="optimiser",
            typed="--optimizer",
            old="--optimiser",
            commands=TRAIN,
            choices=("sgd", "adam", "adamw", "adadelta", "adagrad"),
            by_rule=True,
            help="What turns gradients into steps.",
        ),
        Option(
            name="lr",
            kind="float",
            commands=TRAIN,
            ends=(1e-9, 100.0),
            by_rule=True,
            help="Learning rate of the last tuned stage.",
        ),
        Option(
            name="patience",
            kind="int",
            commands=TRAIN,
            ends=(1, 10_000),
            by_rule=True,
            help="Stop after so many epochs without a better one.",
        ),
        Option(
            name="precision",
            commands=TRAIN,
            choices=("auto", "fp32", "bf16"),
            by_rule=True,
            help="What training steps compute in; auto: mixed on a GPU, fp32 on a CPU.",
        ),
        Option(
            name="refit",
            kind="switch",
            commands=TRAIN,
            by_rule=True,
            help="Train again with the validation images, too, once they have judged.",
        ),
        Option(
            name="side_px",
            typed="--image-size",
            old="--side-px",
            kind="int",
            commands=DECIDING,
            ends=(16, 2048),
            by_rule=True,
            help="Side in pixels of the images that tuning sees; a ViT is built for it.",
        ),
        Option(
            name="label_smoothing",
            kind="float",
            commands=TRAIN,
            ends=SHARE,
            by_rule=True,
            help="Share of the label spread over all classes.",
        ),
        Option(
            name="dropout",
            kind="float",
            commands=TRAIN,
            ends=SHARE,
            by_rule=True,
            help="Dropout in the head.",
        ),
        Option(
            name="weight_decay",
            kind="float",
            commands=TRAIN,
            ends=(0.0, 10.0),
            by_rule=True,
            help="Weight decay.",
        ),
        Option(
            name="class_weights",
            kind="switch",
            commands=TRAIN,
            by_rule=True,
            help="Weigh rare classes more.",
        ),
        Option(
            name="resume",
            kind="flag",
            commands=f"{TRAIN} predict",
            help="Go on with work that was killed or interrupted.",
        ),
        Option(
            name="from_run",
            kind="folder",
            commands=TRAIN,
            help="Repeat this run: its folder (or DIR), options and seed, less what you give.",
        ),
    ),
    "augmentation": AUGMENTATION,
    "output": (
        Option(
            name="out",
            kind="folder",
            commands=f"{TRAIN} export explain report",
            unset="./runs/… for a run; beside the run for an export and for heat maps; the run's "
            "own report.html",
            help="Where to write: the folder of a run or of heat maps, an export, a report.",
        ),
        Option(
            name="run",
            kind="folder",
            commands="predict evaluate",
            unset="the newest in ./runs",
            help="A run folder.",
        ),
        *SHARD,
        *PREDICT,
        *TRACKING,
        Option(
            name="class_name",
            typed="--class",
            commands="explain",
            metavar="NAME",
            unset="each image's answer",
            help="The class whose evidence is shown.",
        ),
        Option(
            name="count",
            kind="int",
            commands="suggest",
            default=50,
            ends=(1, math.inf),
            help="How many images to suggest.",
        ),
        Option(
            name="label_studio",
            kind="file",
            commands="check suggest",
            metavar="FILE",
            help="Write them as tasks for Label Studio (JSON), each with its proposed label.",
        ),
        Option(
            name="errors",
            kind="file",
            commands="train evaluate",
            metavar="FILE",
            help="Write the wrong answers to this CSV file: path, truth, answer, probability.",
        ),
        Option(
            name="verbose",
            kind="flag",
            commands=f"{DATA} evaluate",
            help="Show every step, epoch, reason and table.",
        ),
        Option(
            name="quiet",
            kind="flag",
            commands=f"{DATA} predict evaluate explain suggest export report serve",
            help="Show no progress: the answer and faults alone.",
        ),
        *EXPORT,
        Option(name="clear", kind="flag", commands="cache", help="Empty the cache."),
        Option(
            name="json",
            kind="flag",
            commands=f"{DATA} predict evaluate explain suggest export report runs backbones cache",
            help="Answer as JSON on stdout, nothing else.",
        ),
    ),
}
ALL = tuple(option for rows in OPTIONS.values() for option in rows)
NAMED = {option.name: option for option in ALL}
DEFAULTS: dict[str, Any] = {o.name: False if o.kind == "flag" else o.default for o in ALL}
# Settings of a plan that no option sets, or whose option is an abbreviation, in a sentence.
_SPOKEN = {
    "taps": "feature layers",
    "lr": "learning rate",
    "head_lr": "learning rate of the head",
    "stage_decay": "rate from stage to stage",
}
OVERRIDES = frozenset(option.name for option in ALL if option.by_rule)


def of(command: str) -> dict[Group, list[Option]]:
    """The options of a command, by groups."""
    mine = {
        group: [option for option in rows if command in option.commands.split()]
        for group, rows in OPTIONS.items()
    }
    return {group: rows for group, rows in mine.items() if rows}


def flag(name: str) -> str:
    """What a person types for a value of that name, be it an option or not: `--image-size`."""
    return NAMED[name].flag if name in NAMED else f"--{name.replace('_', '-')}"


def spoken(name: str) -> str:
    """The same in a sentence: `image size`."""
    return _SPOKEN.get(name) or flag(name).removeprefix("--").replace("-", " ")


def check(values: Mapping[str, Any]) -> None:
    """Refuse values that an option does not take, before any work is done.

    Args:
        values: By the names of options; None stands for what was not given.

    Raises:
        UsageError: names the option and its value.
    """
    for name, value in values.items():
        option = NAMED.get(name)
        if option is None or value is None:
            continue
        if option.choices and value not in option.choices:
            raise UsageError(
                f"{option.flag} is '{value}'", hint=f"Give one of {', '.join(option.choices)}."
            )
        if option.ends is not None and not (
            isinstance(value, int | float) and option.ends[0] <= value <= option.ends[1]
        ):
            raise UsageError(f"{option.flag} is {value}", hint=f"Give a value from {option.range}.")
