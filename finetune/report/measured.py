"""What was measured before the choice: probes by stage, the learning curve, trials, tuning."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.records.backbone_choice import BackboneChoice
from finetune.records.decision import Recommendation, TrialResult
from finetune.records.material import Material
from finetune.records.run import RunResult
from finetune.records.training import EpochRecord
from finetune.report import backbone_words, charts
from finetune.report.charts import Axis, Chart
from finetune.report.markup import Html, cut, joined, paragraph, percent, table, tag, text

_ROW = 24


def stages(result: RunResult) -> Html:
    """The accuracy of a linear classifier on each stage, with its standard error."""
    if len(result.stages) < 2:
        return Html("")
    best = max(result.stages, key=lambda s: s.accuracy)
    high = _ROW * len(result.stages) + 44
    low = min(0.9, max(0.0, min(s.accuracy - 2 * s.standard_error for s in result.stages)))
    x = Axis(low=low, high=1.0, start=130, end=charts.WIDTH - 44)
    drawn = []
    for i, stage in enumerate(result.stages):
        y, told = _ROW * i + 20, f"{stage.name}: {stage.accuracy:.1%}"
        ends = x(stage.accuracy - stage.standard_error), x(stage.accuracy + stage.standard_error)
        drawn += [
            charts.words(124, y + 4, cut(stage.name, 20), "end"),
            charts.box(x.start, y - 7, x(stage.accuracy) - x.start, 14, "bar", told),
            charts.line(ends[0], y, ends[1], y, "error"),
            charts.words(
                *(charts.WIDTH - 2, y + 4, f"{stage.accuracy:.1%}", "end"),
                "strong" if stage is best else "",
            ),
        ]
    drawn += [
        joined(
            charts.line(x(v), 6, x(v), high - 34, "grid"),
            charts.words(x(v), high - 20, charts.short(v), "middle", "soft"),
        )
        for v in x.ticks(3)
    ]
    drawn.append(charts.words(x.start, high - 4, "accuracy, cross-validated", "start", "soft"))
    rows = [
        [s.name, percent(s.accuracy), percent(s.standard_error), f"{s.log_loss:.3f}", s.dimensions]
        for s in result.stages
    ]
    head = ["features", "accuracy", "± standard error", "log loss", "dimensions"]
    return Chart(
        name="stages",
        title="Linear classifiers by stage",
        told=f"Best: {best.name} with {best.accuracy:.1%}; the last row is the top features.",
        drawing=joined(*drawn),
        numbers=table(head, rows, "Linear classifiers by stage"),
        caption=text("Each image left out once. Lines: one standard error either way."),
        size=(charts.WIDTH, high),
    ).html()


def curve(material: Material) -> Html:
    """The error of the probe by the number of images, and what more of them should give."""
    points, beyond = material.profile.size.curve, material.expected
    if len(points) < 2:
        return Html("")
    last = beyond[-1].images if beyond else points[-1].images
    x = charts.across(points[0].images, last, log=True)
    y = charts.upward(0, max([p.error for p in points] + [b.high for b in beyond] + [0.02]) * 1.1)
    ahead = [(points[-1].images, *[points[-1].error] * 3)]
    ahead += [(b.images, b.error, b.low, b.high) for b in beyond]
    ticks = [p.images for p in points] + [b.images for b in beyond]
    names = ("images to learn from (double each step)", "error of the probe")
    drawn = [charts.frame(x, y, names, (charts.whole, charts.short), ticks)]
    if beyond:
        drawn += [
            charts.band([(x(n), y(low), y(high)) for n, _, low, high in ahead], "band"),
            charts.path([(x(n), y(error)) for n, error, _, _ in ahead], "s0 dashes"),
        ]
    drawn.append(charts.path([(x(p.images), y(p.error)) for p in points], "s0"))
    drawn += [charts.marker(0, x(p.images), y(p.error), 4, percent(p.error)) for p in points]
    drawn += [charts.marker(3, x(b.images), y(b.error), 4, percent(b.error)) for b in beyond]
    rows = [[f"{p.images:,}", percent(p.error), "measured"] for p in points]
    rows += [
        [f"{b.images:,}", percent(b.error), f"expected: {b.low:.1%} to {b.high:.1%}"]
        for b in beyond
    ]
    told = "; ".join(" ".join(row[:2]) for row in rows)
    return Chart(
        name="curve",
        title="Learning curve, and what more images should give",
        told=f"Error by number of images: {told}.",
        drawing=joined(*drawn),
        numbers=table(["images", "error", "how"], rows, "Learning curve"),
        caption=text(more_images(material)),
    ).html()


def more_images(material: Material) -> str:
    """What twice and four times the images are expected to give, in a sentence."""
    points, beyond = material.profile.size.curve, material.expected
    if not beyond:
        return "Too few images for a curve that could be continued."
    now = points[-1].error
    said = ", ".join(
        f"{b.times:.0f} times as many {b.error:.1%} ({b.low:.1%} to {b.high:.1%})" for b in beyond
    )
    return (
        f"The probe's error is {now:.1%} now; expected with {said}, if they are like these. Four "
        "of five such expectations lie in the band. A tuned model may gain more."
    )


def trials(advice: Recommendation) -> Html:
    """What each trial gained over the best probe, with its standard error."""
    if not advice.trials:
        return Html("")
    most = max(abs(t.gain) + 2 * t.noise for t in advice.trials) or 0.01
    high = _ROW * len(advice.trials) + 48
    x = Axis(low=-most, high=most, start=120, end=charts.WIDTH - 14)
    drawn = [charts.line(x(0), 6, x(0), high - 34, "axis")]
    for i, trial in enumerate(advice.trials):
        y = _ROW * i + 20
        drawn += [
            charts.words(112, y + 4, f"{trial.strategy}, {trial.epochs} epochs", "end"),
            charts.line(x(trial.gain - trial.noise), y, x(trial.gain + trial.noise), y, "error"),
            charts.marker(3, x(trial.gain), y, 5, f"{100 * trial.gain:+.1f} points"),
        ]
    drawn += [
        charts.words(x(v), high - 20, f"{100 * v:+.3g}", "middle", "soft") for v in x.ticks(4)
    ]
    drawn.append(charts.words(x(0), high - 4, "points over the best probe", "middle", "soft"))
    rows = [_trial(trial) for trial in advice.trials]
    head = ["strategy", "gain", "learnt from", "judged on", "image size", "epochs", "seconds"]
    return Chart(
        name="trials",
        title="Trials: tuned against the probe",
        told="; ".join(f"{row[0]} {row[1]}" for row in rows),
        drawing=joined(*drawn),
        numbers=table(head, rows, "Trials"),
        caption=text(
            "Short tunings on a part of the images, judged on others. Right of zero "
            "the tuned model is ahead; lines are one standard error either way."
        ),
        size=(charts.WIDTH, high),
    ).html()


def _trial(trial: TrialResult) -> list[object]:
    gain = f"{100 * trial.gain:+.1f} ± {100 * trial.noise:.1f} points"
    counts = (f"{trial.learnt_from} images", f"{trial.judged_on} images", f"{trial.side_px} px")
    return [trial.strategy, gain, *counts, trial.epochs, f"{trial.seconds:.0f}"]


def forecasts(advice: Recommendation) -> Html:
    """How long each strategy would take."""
    if not advice.forecasts:
        return Html("")
    rows = [[f.strategy, "yes" if f.fits else "no", f.text] for f in advice.forecasts]
    return table(["strategy", "fits the budget", "forecast"], rows, "Forecasts of time")


def history(epochs: Sequence[EpochRecord]) -> Html:
    """The loss by epoch, in training and on validation images."""
    if len(epochs) < 2:
        return Html("")
    held = [r.val_loss for r in epochs if r.val_loss is not None]
    curves = [("training", [r.train_loss for r in epochs])]
    if len(held) == len(epochs):
        curves.append(("validation", held))
    top = max(max(values) for _, values in curves) or 1.0
    x, y = charts.across(1, len(epochs)), charts.upward(0, 1.05 * top)
    drawn = [charts.frame(x, y, ("epoch", "loss"), (charts.whole, lambda v: f"{v:.3g}"))]
    for i, (name, values) in enumerate(curves):
        places = [(x(n + 1), y(v)) for n, v in enumerate(values)]
        drawn.append(charts.path(places, f"s{i}{' dashes' if i else ''}"))
        every = max(1, len(places) // 12)
        drawn += [charts.marker(i, *place, 3, name) for place in places[::every]]
        drawn += [
            charts.marker(i, 220, 14 + 15 * i, 4),
            charts.words(230, 18 + 15 * i, name, "start"),
        ]
    best = max((r.epoch for r in epochs if r.best), default=0)
    kept = f"kept: epoch {best}" if held else f"kept: the last, {epochs[-1].epoch}"
    if held and best == 0:
        kept = "no epoch was better than the probe's head it started from"
    rows = [
        [
            r.epoch,
            f"{r.train_loss:.4f}",
            "–" if r.val_loss is None else f"{r.val_loss:.4f}",
            percent(r.val_accuracy),
            f"{r.seconds:.1f}",
        ]
        for r in epochs
    ]
    head = ["epoch", "training loss", "validation loss", "validation accuracy", "seconds"]
    return Chart(
        name="tuning",
        title="Tuning",
        told=f"Loss by epoch, 1 to {len(epochs)}: {', '.join(name for name, _ in curves)}; {kept}.",
        drawing=joined(*drawn),
        numbers=table(head, rows, "Epochs"),
        caption=text(f"Loss by epoch; {kept}."),
    ).html()


def backbones(choice: BackboneChoice | None) -> Html:
    """What the backbone was chosen of, where it was not named."""
    if choice is None:
        return Html("")
    rows = [
        [
            c.name,
            c.licence + ("" if c.permissive else " (opt-in)"),
            "–" if c.parameters is None else f"{c.parameters / 1e6:.1f} M",
            "–" if c.latency_ms is None else f"{c.latency_ms:.1f} ms",
            c.images or "–",
            *backbone_words.figures(c),
            ("in: " if c.standing == "chosen" else "out: ") + c.why,
        ]
        for c in choice.candidates
    ]
    head = ["backbone", "license", "parameters", "one image", "images"]
    return joined(
        tag("h3", "Which backbone" if choice.start is None else "Where to start"),
        paragraph(f"{choice.reason}."),
        table([*head, *backbone_words.heads(choice), "why"], rows, "Backbones that were compared"),
        paragraph(backbone_words.how(choice), "soft"),
    )
