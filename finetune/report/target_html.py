"""The report of a run of labels or numbers: one self-contained page; pure, every name escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finetune.records.errors import printable
from finetune.records.figures import figure
from finetune.records.run import RunFacts
from finetune.records.start import StartFacts
from finetune.records.target_result import TargetResult
from finetune.records.training import EpochRecord
from finetune.report import (
    card,
    gallery,
    html,
    measured,
    style,
    summary,
    target_card,
    target_charts,
    target_words,
)
from finetune.report.gallery import Pictures
from finetune.report.markup import (
    Html,
    cut,
    details,
    items,
    joined,
    paragraph,
    section,
    shown_of,
    table,
    tag,
    text,
)

WORST = 18  # answers that are shown with their pictures
_LABELS = 1000  # rows of the table


def wanted(result: TargetResult) -> list[str]:
    """The pictures that are shown where they can be had, the most important first."""
    found = [w.path for w in result.worst[:WORST]]
    return found + [p for f in gallery.findings(result) for p in f.paths[: gallery.PER_FINDING]]


def to_html(
    facts: RunFacts,
    result: TargetResult,
    history: Sequence[EpochRecord],
    thumbs: Mapping[str, bytes],
) -> str:
    """The report of one run, of at most `html.MOST_BYTES` unless its texts alone are longer.

    Args:
        facts: Of the run.
        result: Its answer.
        history: One record per epoch.
        thumbs: Thumbnails by path, JPEG; what has none is named.
    """
    page = ""
    for shown in (thumbs, {}):
        page = _page(facts, result, history, Pictures(shown))
        if len(page.encode(errors="replace")) <= html.MOST_BYTES:
            break
    return page


def _page(
    facts: RunFacts, result: TargetResult, history: Sequence[EpochRecord], pictures: Pictures
) -> str:
    name = printable(facts.data_root.rstrip("/").rpartition("/")[2])
    sections = [
        _verdict(result),
        _measured(result, history),
        section("worst", "Answers furthest from the truth", _worst(result, pictures)),
        _decision(result),
        section("findings", "Findings about the data", gallery.of_findings(result, pictures)),
        section("card", "Model card", target_card.model(facts, result)),
        section("settings", "Settings", card.settings(result.plan), card.seconds(result)),
        section("repeat", "How to repeat it", card.repeat(facts, result)),
    ]
    title = tag("h1", f"{name}: {result.strategy} on {facts.backbone.name}")
    body = joined(
        tag("a", "Skip to the verdict", href="#verdict", kind="skip"),
        tag("header", joined(title, html.contents(sections))),
        tag("main", joined(*sections, pictures.store(), between="\n")),
        tag("footer", paragraph("Made by finetune. One file: nothing is fetched.", "soft")),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(name)}: finetune report</title><style>{style.page()}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _verdict(result: TargetResult) -> Html:
    """The score with all that it is to be held against, and why this model."""
    metrics = result.test or result.estimate
    source = "test images" if result.test else result.estimate_source
    score, rest = target_words.headline(metrics)
    told = [text(f"{_capital(result.verdict)}.")] if result.verdict else []
    if result.floor is not None:
        told.append(text(f"{_capital(result.floor.reason.rstrip('.'))}."))
    told += [text(f"{one}.") for one in summary.started(result.start)]
    if result.stopped is not None:
        told.append(tag("b", f"Stopped early: {result.stopped.text}."))
    if bad := summary.worst_first(gallery.findings(result)):
        link = tag("a", f"{bad[0].severity}: {bad[0].title}", href="#findings")
        told.append(joined("Worst finding about the data: ", link, text(".")))
    figure = joined(tag("p", score, kind="big"), paragraph(f"{rest} {source}"))
    return section(
        "verdict",
        "Verdict",
        tag("div", joined(tag("div", figure), target_charts.against(metrics)), kind="verdict"),
        items(told),
    )


def _measured(result: TargetResult, history: Sequence[EpochRecord]) -> Html:
    """Each label or number, the probes by stage, the curves."""
    metrics = result.test or result.estimate
    head, rows = target_words.rows(metrics)
    drawn = target_charts.labels(metrics) if metrics.per_label else target_charts.answers(result)
    overall = [
        (name, figure(value), "" if ends is None else f"{figure(ends[0])} to {figure(ends[1])}")
        for name, value, ends in (
            ("mAP", metrics.map, metrics.map_interval),
            ("micro F1", metrics.micro_f1, None),
            ("macro F1", metrics.macro_f1, None),
            ("all labels of an image right", metrics.exact, None),
            ("log loss of a label", metrics.log_loss, None),
            ("R²", metrics.r2, metrics.r2_interval),
            ("MAE", metrics.mae, metrics.mae_interval),
            ("RMSE", metrics.rmse, metrics.rmse_interval),
            ("MAE of answering the mean", metrics.baseline if metrics.mae is not None else None,
             None),
        )
        if value is not None
    ]  # fmt: skip
    stages = [
        [s.name, str(s.dimensions), f"{s.score:.3f}", figure(s.loss), figure(s.penalty)]
        for s in result.stages
    ]
    score = "mAP" if metrics.map is not None else "R²"
    return section(
        "measured",
        "What was measured",
        table(["", "value", "95 % interval"], overall, "Figures of all images"),
        drawn,
        tag("h3", "Labels" if metrics.per_label else "Numbers"),
        table(head, rows[:_LABELS], "Figures of each"),
        shown_of(min(len(rows), _LABELS), len(rows), "labels", "all are in result.json"),
        details(
            "Linear probes by stage, each image left out",
            table(["features", "dimensions", score, "loss", "penalty"], stages, "Probes by stage"),
        )
        if stages
        else "",
        measured.history(history) if history else "",
    )


def _worst(result: TargetResult, pictures: Pictures) -> Html:
    some = result.worst[:WORST]
    if not some:
        return Html("")
    shown = [
        pictures.show(w.path, f"truth {cut(w.truth, 40)}, answer {cut(w.answer, 40)}", "wrong")
        for w in some
    ]
    return joined(
        paragraph("Is what was listed wrong? Is it to be seen in the picture at all?", "soft"),
        tag("div", joined(*shown), kind="gallery"),
        shown_of(len(some), len(result.worst), "answers", "the others are in result.json"),
    )


def _decision(result: TargetResult) -> Html:
    return section(
        "decision",
        "What was chosen, and why",
        items([reason.text for reason in result.reasons]),
        measured.backbones(result.backbone_choice),
        _before(result.start),
    )


def _before(start: StartFacts | None) -> Html:
    """Each label or number of the run that was started from: before and after."""
    if start is None or start.old is None or not start.old.rows:
        return Html("")
    old, short = start.old, "AP" if start.old.metric == "map" else "MAE"
    rows = [
        [r.name, r.n, *("–" if x is None else figure(x) for x in (r.before, r.after))]
        for r in old.rows[:_LABELS]
    ]
    head = ["label" if old.metric == "map" else "number", "images", f"{short} before", "after"]
    return joined(
        tag("h3", "Before and after"),
        paragraph(f"{old.text}."),
        table(head, rows, "What the old run knows, of it and of the new model"),
        shown_of(len(rows), len(old.rows), "labels", "the others are in result.json"),
    )


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:]
