"""A result in a few sentences, the most important first: what every answer starts with."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.metrics import classification, mistakes
from finetune.records.analysis import Part
from finetune.records.dataset import Finding
from finetune.records.decision import Recommendation
from finetune.records.metrics import Baseline, Metrics
from finetune.records.robustness import Fall
from finetune.records.run import BlendPart, RunResult
from finetune.records.start import StartFacts
from finetune.records.unsure import Selected

_WEAKEST = 3
_MEDIUM = 2  # of three strengths
_SEVERITIES = ("error", "warning", "note")


def accuracy(metrics: Metrics, on: str) -> str:
    """How often it is right, how sure that is, and what the simplest answer would have."""
    return (
        f"accuracy on {metrics.n} {on} ({classification.interval_text(metrics)}; commonest class "
        f"{metrics.majority_baseline:.1%})"
    )


def balanced(metrics: Metrics) -> str | None:
    """What uneven classes and wanted shares make of it, with intervals; None without either."""
    sizes = [c.n for c in metrics.per_class if c.n]
    interval = classification.balanced_text(metrics)
    told = []
    if interval and max(sizes) >= classification.UNEVEN * min(sizes):
        told.append(f"{metrics.balanced_accuracy:.1%} balanced accuracy ({interval})")
    if (found := metrics.at_shares) is not None:
        low, high = found.interval
        told.append(
            f"at the wanted class shares {found.accuracy:.1%} accuracy (95 % interval {low:.1%} to "
            f"{high:.1%}), log loss {found.log_loss:.3f}"
        )
    return "; ".join(told) or None


def reasons(result: RunResult) -> list[str]:
    """What was chosen and why, in two or three sentences; all reasons are in the recommendation."""
    told = choice(result.recommendation, trials=result.floor is None)
    return told if result.floor is None else [*told, against_probe(result.floor)]


def started(start: StartFacts | None) -> list[str]:
    """Where the training started, and how the old run and the new model answer the same images."""
    if start is None:
        return []
    return [start.text] if start.old is None else [start.text, start.old.text]


def together(parts: Sequence[BlendPart]) -> str:
    """The parts of a blend with their weights."""
    shares = " and ".join(f"{part.strategy} ({part.weight:.0%})" for part in parts)
    return f"Two networks answer together, by a weighted mean of their logits: {shares}"


def choice(advice: Recommendation, *, trials: bool = True) -> list[str]:
    """The choice with its reason, and what the trials have shown or why there was none."""
    tried = [_short(r.text) for r in advice.reasons[:-1] if r.rule == "trial"] if trials else []
    uneven = [r.text for r in advice.reasons[:-1] if r.rule in ("shares", "metric", "imbalance")]
    return [advice.reasons[-1].text, *tried, *uneven]


def _short(reason: str) -> str:
    """A reason without how it was found, which stands in brackets: of a forecast the time stays."""
    told, _, how = reason.partition(" (")
    time = how.partition(":")[0]
    return f"{told} ({time})" if time.startswith("about ") else told


def against_probe(floor: Baseline) -> str:
    """The tuned model against the best probe, on the same held-out images."""
    tuned, probe = f"{floor.tuned_accuracy:.1%}", f"{floor.probe_accuracy:.1%}"
    if floor.kept == "tuned":
        return f"Before the test: {tuned} on {floor.n} held-out images, the best probe {probe}"
    if floor.kept == "blend" and floor.blend_accuracy is not None:
        return (
            f"Before the test: {floor.blend_accuracy:.1%} together on {floor.n} held-out images, "
            f"the tuned model alone {tuned}, the best probe {probe}"
        )
    behind = floor.tuned_accuracy < floor.probe_accuracy
    return (
        f"The best probe is kept: {probe} on {floor.n} held-out images, the tuned model {tuned}"
        f"{'' if behind else ', too little to be sure'}"
    )


def most_confused(metrics: Metrics) -> str | None:
    """The classes that were taken for each other most often; None where all is right."""
    pairs = mistakes.confused(metrics)
    if not pairs:
        return None
    true, answer, images, total = pairs[0]
    others = len(pairs) - 1
    more = f", and {others} other pair{'s' if others > 1 else ''}" if others else ""
    return f"'{true}' taken for '{answer}' most often ({images} of {total}){more}"


def weakest(metrics: Metrics) -> str | None:
    """The classes of which the fewest images are recognized; None where all are."""
    poor = [c for c in mistakes.worst_first(metrics.per_class) if c.recall not in (None, 1.0)]
    if not poor:
        return None
    shown = ", ".join(f"'{c.name}' {c.recall:.0%} of {c.n}" for c in poor[:_WEAKEST])
    return f"least recognized: {shown}"


def fragile(falls: Sequence[Fall]) -> str | None:
    """Where it loses most, of each kind at medium strength; None where nothing was measured."""
    medium = sorted((f for f in falls if f.strength == _MEDIUM), key=lambda f: -f.lost)
    if not medium:
        return None
    shown = [
        f"{100 * f.lost:.1f} ± {100 * f.error:.1f} points ({f.what})"
        for f in medium
        if f.lost > f.error
    ]
    if not shown:
        return "no medium change costs more than its standard error"
    return f"loses most by {', '.join(shown[:_WEAKEST])}"


def says(part: Part) -> str:
    """What a part of similarity says: one without a threshold is only shown."""
    return part.verdict if part.different is not None else "no vote"


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Findings by how bad they are."""
    return sorted(findings, key=lambda f: _SEVERITIES.index(f.severity))


def selected(found: Selected) -> list[tuple[str, str]]:
    """What doubt did to labelled images, in rows of a word and a sentence."""
    rows = []
    if found.min_confidence > 0:
        text = f"{found.answered:.1%} of the images, at a probability of {found.min_confidence:.1%}"
        if found.accuracy is not None and found.interval is not None:
            low, high = found.interval
            text += (
                f"; {found.accuracy:.1%} of these rightly (95 % interval {low:.1%} to {high:.1%})"
            )
        rows.append(("Answered:", f"{text}; {found.unsure:.1%} unsure"))
    if found.covered is not None and found.covered_interval is not None:
        low, high = found.covered_interval
        rows.append(
            (
                "Sets:",
                f"{found.covered:.1%} hold the true label (95 % interval {low:.1%} to {high:.1%}), "
                f"{found.set_size:.2f} labels on average",
            )
        )
    if found.unknown > 0:
        text = f"{found.unknown:.1%} of the images lie far from those trained on"
        rows.append(("Unknown:", f"{text}; their labels count above"))
    return rows
