"""What to do next: the advice that follows from a result, the most pressing first."""

from __future__ import annotations

import shlex

from finetune.metrics import verdict
from finetune.records.errors import safe_name
from finetune.records.material import Material
from finetune.records.run import RunFacts, RunResult
from finetune.report import summary
from finetune.report.markup import Html, joined, tag, text

_WORTH = 0.005  # half a point of accuracy: less is not worth labelling twice the images


def advice(facts: RunFacts, result: RunResult, material: Material) -> Html:
    """Sentences with the commands that go with them."""
    run, data = (shlex.quote(safe_name(p)) for p in (result.run, facts.data_root))
    steps = [text(f.hint) for f in result.findings if f.code in verdict.CODES]
    if result.stopped is not None:
        steps.append(text(f"{result.stopped.text}. {result.stopped.hint}"))
    bad = [f for f in summary.worst_first(result.findings) if f.severity != "note"]
    if bad := [f for f in bad if f.code not in verdict.CODES]:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        steps.append(
            joined(
                text(f"Mend the data first: {bad[0].title}{more} ("),
                tag("a", "findings", href="#findings"),
                text(")."),
            )
        )
    steps += [text(step) for step in _more(data, result, material)]
    steps.append(_with("Use it:", f"finetune predict IMAGE --run {run}"))
    if result.test is not None:
        steps.append(
            _with(
                "Before you rely on it, measure it on images from where it will work:",
                f"finetune evaluate OTHER_DIR --run {run} --robustness",
            )
        )
        missing = _missing(material)
        if missing:
            steps.append(_with(missing, f"finetune report {run} --full"))
    return tag("ol", joined(*[tag("li", step) for step in steps]))


def _missing(material: Material) -> str:
    """What this page has not got, since the training was too short for it; empty if nothing."""
    parts = [
        name
        for name, made in (
            ("heat maps of right and wrong answers", material.heat_maps),
            ("how accuracy falls on poor pictures", material.robustness),
        )
        if not made
    ]
    if not parts:
        return ""
    told = " and ".join(parts)
    return f"Not in this report, since they take longer than a short training: {told}. Add with:"


def _more(data: str, result: RunResult, material: Material) -> list[str]:
    """Whether more images or other features would help."""
    size, beyond = material.profile.size, material.expected
    if not beyond or not size.curve:
        return []
    now, then = size.curve[-1].error, beyond[0]
    if size.limit == "data" and now - then.error >= _WORTH:
        return [
            f"More images of the same kind help most: with {then.images:,} the probe's error is "
            f"expected at {then.error:.1%} in place of {now:.1%} ({then.low:.1%} to "
            f"{then.high:.1%})."
        ]
    if size.limit == "representation" and result.backbone_choice is None:
        return [
            "More images would hardly help the probe, other features might: "
            f"finetune train {data} --backbone auto."
        ]
    return []


def _with(said: str, command: str) -> Html:
    return joined(text(said), tag("pre", tag("code", command)))
