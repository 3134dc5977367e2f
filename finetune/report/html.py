"""A run's result → one self-contained HTML page; pure, every name escaped, never too large."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from finetune.metrics import classification
from finetune.records.choices import Similarity, Size
from finetune.records.errors import printable
from finetune.records.material import Material
from finetune.records.run import RunFacts, RunResult
from finetune.records.training import EpochRecord
from finetune.report import (
    answers,
    card,
    charts,
    decision_picture,
    gallery,
    map_picture,
    measured,
    next_steps,
    robustness_chart,
    style,
    summary,
)
from finetune.report.charts import Axis
from finetune.report.gallery import Pictures
from finetune.report.markup import (
    Html,
    details,
    items,
    joined,
    paragraph,
    percent,
    section,
    table,
    tag,
    text,
)

MOST_BYTES = 5_000_000  # reports are mailed
_CLASSES = (1000, 200)  # rows of the table of classes, tried in turn
_HEADING = re.compile(r'<h2 id="(?P<name>[\w-]+)-title">(?P<title>[^<]*)</h2>')
Actions = Mapping[tuple[Size, Similarity], str]


def to_html(
    facts: RunFacts,
    result: RunResult,
    material: Material,
    history: Sequence[EpochRecord],
    actions: Actions,
    pictures: Mapping[str, bytes],
    overlays: Mapping[str, bytes] | None = None,
) -> str:
    """The report of one run, of at most `MOST_BYTES` unless its texts alone are longer.

    Args:
        facts: Of the run.
        result: Its answer.
        material: What is shown beside it.
        history: One record per epoch.
        actions: The decision table, a text for each of its cells.
        pictures: Thumbnails by path, JPEG; what has none is named.
        overlays: Heat maps over pictures, likewise.
    """
    page = ""
    heat = overlays or {}
    for shown, over, most in ((pictures, heat, 0), ({}, {}, 0), ({}, {}, 1)):
        drawn = (Pictures(shown), Pictures(over, "h"))
        page = _page(facts, result, material, history, actions, drawn, _CLASSES[most])
        if len(page.encode(errors="replace")) <= MOST_BYTES:
            break
    return page


def _page(
    facts: RunFacts,
    result: RunResult,
    material: Material,
    history: Sequence[EpochRecord],
    actions: Actions,
    drawn: tuple[Pictures, Pictures],
    most: int,
) -> str:
    pictures, overlays = drawn
    name = printable(facts.data_root.rstrip("/").rpartition("/")[2])
    sections = [
        _verdict(facts, result, material),
        _decision(result, material, actions),
        _measured(result, material, history),
        _mistakes(result, material, most),
        _galleries(result, material, pictures),
        section("heat-maps", "Where the evidence lies", gallery.heat_maps(material, overlays)),
        section("findings", "Findings about the data", gallery.of_findings(result, pictures)),
        section("map-of-images", "Map", map_picture.picture(material.image_map, result.classes)),
        section("robustness", "Robustness", robustness_chart.picture(material.robustness)),
        section("card", "Model card", card.model(facts, result)),
        section("settings", "Settings", card.settings(result.recommendation.plan),
                card.seconds(result)),
        section("repeat", "How to repeat it", card.repeat(facts, result)),
    ]  # fmt: skip
    title = tag("h1", f"{name}: {result.strategy} on {facts.backbone.name}")
    body = joined(
        tag("a", "Skip to the verdict", href="#verdict", kind="skip"),
        tag("header", joined(title, contents(sections))),
        tag("main", joined(*sections, pictures.store(), overlays.store(), between="\n")),
        tag("footer", paragraph("Made by finetune. One file: nothing is fetched.", "soft")),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(name)}: finetune report</title><style>{style.page()}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def contents(sections: Sequence[Html]) -> Html:
    """Links to the sections that are there."""
    found = [_HEADING.search(one) for one in sections]
    links = [tag("a", Html(m["title"]), href=f"#{m['name']}") for m in found if m]
    return tag("nav", tag("ul", joined(*[tag("li", a) for a in links])), aria_label="Contents")


def _verdict(facts: RunFacts, result: RunResult, material: Material) -> Html:
    """The accuracy with all that it is to be held against, why this model, and what to do."""
    metrics = result.test or result.estimate
    source = f"{metrics.n} test images" if result.test else result.estimate_source
    told = [text(f"{reason}.") for reason in summary.reasons(result)]
    if result.parts:
        told.insert(0, text(f"{summary.together(result.parts)}."))
    told += [text(f"{one}.") for one in summary.started(result.start)]
    confused, weakest = summary.most_confused(metrics), summary.weakest(metrics)
    told += [text(f"{said[0].upper()}{said[1:]}.") for said in (confused, weakest) if said]
    if not confused:
        told.append(text("No answer was wrong."))
    even = summary.balanced(metrics)
    figure = joined(
        tag("p", f"{metrics.accuracy:.1%}", kind="big"),
        paragraph(
            f"accuracy on {source}, {classification.interval_text(metrics)}; always answering the "
            f"commonest class gives {metrics.majority_baseline:.1%}"
        ),
        paragraph(even or ""),
        _standing(result),
    )
    if bad := summary.worst_first(gallery.findings(result)):
        link = tag("a", f"{bad[0].severity}: {bad[0].title}", href="#findings")
        told.append(joined("Worst finding about the data: ", link, text(".")))
    return section(
        "verdict",
        "Verdict",
        tag("div", joined(tag("div", figure), _against(result)), kind="verdict"),
        items(told),
        tag("h3", "What to do next"),
        next_steps.advice(facts, result, material),
    )


def _standing(result: RunResult) -> Html:
    """That the result is no better than the commonest class, or that this cannot be said."""
    said = []
    if result.better_than_commonest is not True and result.verdict:
        said.append(f"{result.verdict[0].upper()}{result.verdict[1:]}.")
    if result.stopped is not None:
        said.append(f"Stopped early: {result.stopped.text}.")
    return joined(*[paragraph(tag("b", one)) for one in said])


def _against(result: RunResult) -> Html:
    """The accuracy with its interval, beside the commonest class and the best probe."""
    metrics = result.test or result.estimate
    rows = [("this model", metrics.accuracy, metrics.interval)]
    if result.strategy not in ("linear-probe", "stage-probe") and result.stages:
        best = max(result.stages, key=lambda s: s.accuracy)
        two = 2 * best.standard_error
        ends = max(0.0, best.accuracy - two), min(1.0, best.accuracy + two)
        rows.append(("best probe, cross-validated", best.accuracy, ends))
    rows.append(("commonest class", metrics.majority_baseline, (metrics.majority_baseline,) * 2))
    high = 30 * len(rows) + 26
    x = Axis(low=0, high=1, start=128, end=charts.WIDTH - 16)
    drawn = [
        joined(
            charts.line(x(v), 4, x(v), high - 22, "grid"),
            charts.words(x(v), high - 6, charts.short(v), "middle", "soft"),
        )
        for v in x.ticks(4)
    ]
    for i, (name, value, (low, end)) in enumerate(rows):
        y = 30 * i + 18
        drawn.append(charts.words(120, y + 4, name.partition(",")[0], "end"))
        if end > low:
            drawn.append(charts.line(x(low), y, x(end), y, "interval"))
        drawn.append(charts.marker(3 if i == 0 else 0, x(value), y, 5, percent(value), "own"))
    told = "; ".join(f"{name} {value:.1%}" for name, value, _ in rows)
    return charts.Chart(
        name="against",
        title="Accuracy and what to hold it against",
        told=f"{told}; bars are 95 % intervals.",
        drawing=joined(*drawn),
        numbers=table(
            ["", "accuracy", "95 % interval"],
            [[n, percent(v), f"{a:.1%} to {b:.1%}"] for n, v, (a, b) in rows],
            "Accuracies",
        ),
        size=(charts.WIDTH, high),
    ).html()


def _decision(result: RunResult, material: Material, actions: Actions) -> Html:
    """Where the data stands in the table, part by part, and every reason."""
    advice, profile = result.recommendation, material.profile
    floor = [result.floor.reason] if result.floor else []
    pixels = f"{profile.median_side_px} px" if profile.median_side_px else "unknown"
    reasons = [r.text for r in advice.reasons] + floor
    return section(
        "decision",
        "What was chosen, and why",
        paragraph(tag("b", advice.warning)) if advice.warning else "",
        tag(
            "div",
            joined(
                decision_picture.picture(profile, advice),
                tag(
                    "div",
                    joined(
                        decision_picture.cells(advice, actions),
                        decision_picture.strips(profile.similarity.parts),
                    ),
                ),
            ),
            kind="grid2",
        ),
        tag("h3", "How far the boundaries are"),
        items([*decision_picture.distances(profile), *advice.flips]),
        tag("h3", "Every reason"),
        items([*reasons, f"median short side of the images: {pixels}"]),
        details("Distance from ImageNet, part by part", _parts(material)),
    )


def _parts(material: Material) -> Html:
    """The distance from ImageNet part by part, with thresholds."""
    rows = [
        [
            p.name,
            *("–" if v is None else f"{v:.2f}" for v in (p.value, p.similar, p.different)),
            summary.says(p),
            p.text,
        ]
        for p in material.profile.similarity.parts
    ]
    head = ["part", "measured", "similar at", "different at", "says", "what it is"]
    return table(head, rows, "Distance from ImageNet, part by part")


def _measured(result: RunResult, material: Material, history: Sequence[EpochRecord]) -> Html:
    """Probes, the learning curve, trials and tuning."""
    advice = result.recommendation
    pictures = joined(
        measured.stages(result),
        measured.curve(material),
        measured.trials(advice),
        measured.history(history),
    )
    forecasts = measured.forecasts(advice)
    return section(
        "measured",
        "What was measured",
        tag("div", pictures, kind="grid2") if pictures else "",
        measured.backbones(result.backbone_choice),
        details("How long each strategy would take", forecasts) if forecasts else "",
    )


def _mistakes(result: RunResult, material: Material, most: int) -> Html:
    """Confusion, classes and confidence."""
    metrics = result.test or result.estimate
    linked = gallery.by_pair(result) if result.test is not None else {}
    trust = joined(answers.reliability(material), answers.answered(material))
    pairs = joined(answers.confusion(metrics, result.classes, linked), answers.pairs(metrics))
    by_class = answers.classes(metrics, most)
    return section(
        "mistakes",
        "How it answers",
        tag("div", joined(tag("div", pairs), tag("div", by_class)), kind="grid2"),
        tag("div", trust, kind="grid2") if trust else "",
    )


def _galleries(result: RunResult, material: Material, pictures: Pictures) -> Html:
    """Test images to look at."""
    names = gallery.listed(result)
    return section(
        "pictures",
        "Pictures worth a view",
        gallery.confident(result, pictures),
        gallery.close(material, pictures),
        gallery.suspects(result, pictures),
        gallery.pairs(result, pictures),
        details("All wrong answers by name, the most confident first", names) if names else "",
    )
