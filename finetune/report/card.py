"""The model card, every setting with its reason, and how to repeat the run."""

from __future__ import annotations

import shlex

from finetune.records import option_table
from finetune.records.decision import Plan
from finetune.records.errors import safe_name
from finetune.records.run import RunFacts, RunResult
from finetune.records.target_result import TargetResult
from finetune.report.markup import Html, details, joined, paragraph, table, tag, text

_NAMED = 40  # classes


def model(facts: RunFacts, result: RunResult) -> Html:
    """What the model is for, what it is not for, and what it was made of."""
    classes = ", ".join(facts.classes[:_NAMED])
    if len(facts.classes) > _NAMED:
        classes += f" and {len(facts.classes) - _NAMED} more"
    counts = ", ".join(f"{n:,} {part}" for part, n in result.counts.items())
    about, size = facts.backbone, facts.preprocess.side_px
    network = f"{about.name}, {about.parameters / 1e6:.1f} million parameters, {size} px"
    shares = [] if facts.shares is None else [("Class shares", facts.shares.reason)]
    return terms(
        [
            ("Intended use", f"To sort images like those in {facts.data_root} into "
             f"{len(facts.classes)} classes: {classes}."),
            ("Not for", "Images of another kind, from another camera or place, before it has been "
             "measured on them (finetune evaluate). An image of no known class still gets a "
             "label. Not for decisions about people or health without their own validation."),
            ("Limits", "Probabilities are calibrated for images like those it learnt from. The "
             "held-out images are from the same folder: what they share with the training images "
             "(camera, place, season) is not tested."),
            ("Network", f"{network}; {result.strategy}"),
            ("Weights", f"{about.weights}; license: {about.licence}"),
            *shares,
            ("Images", counts),
            ("Training data", f"{facts.data_root}, fingerprint {facts.data_fingerprint}"),
            ("Accuracy", f"{_accuracy(facts)} on {facts.accuracy_source}"),
        ]
    )  # fmt: skip


def _accuracy(facts: RunFacts) -> str:
    return "not known" if facts.accuracy is None else f"{facts.accuracy:.1%}"


def settings(plan: Plan) -> Html:
    """Every setting with the rule that set it."""
    skip = {"why", "augment"}
    values = {k: v for k, v in vars(plan).items() if k not in skip} | vars(plan.augment)
    rows = [[option_table.spoken(k), _show(v), plan.why.get(k, "")] for k, v in values.items()]
    shown = table(["setting", "value", "because"], rows, "Settings and their reasons")
    return details("Every setting and where it comes from", tag("div", shown, kind="left"))


def repeat(facts: RunFacts, result: RunResult | TargetResult) -> Html:
    """The commands that make the run, and this page, once more."""
    run = shlex.quote(safe_name(result.run))
    versions = ", ".join(f"{k} {v}" for k, v in facts.versions.items())
    return joined(
        paragraph("The same options, seed and images once more, compared with this run:"),
        tag("pre", tag("code", f"finetune train --from-run {run}")),
        paragraph("This page once more, without pictures to mail it:"),
        tag("pre", tag("code", f"finetune report {run} --no-images --out report-to-mail.html")),
        terms(
            [
                ("Made by", tag("code", facts.command)),
                ("On", facts.created),
                ("Seed", f"seed {facts.seed}"),
                ("Versions", versions),
            ]
        ),
    )


def seconds(result: RunResult | TargetResult) -> Html:
    """Where the time went."""
    rows = [[name, f"{value:.1f}"] for name, value in result.seconds.items()]
    return details("Where the time went", table(["step", "seconds"], rows, "Seconds by step"))


def terms(rows: list[tuple[str, object]] | list[tuple[str, str]]) -> Html:
    """Names, each with what there is to say of it."""
    return tag("dl", joined(*[joined(tag("dt", a), tag("dd", text(b))) for a, b in rows]))


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
