"""Pictures of a report: which are shown, where, and with which words."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence

from finetune.metrics import mistakes, verdict
from finetune.records.dataset import Finding
from finetune.records.labels import LabelIssues, SuspectLabel
from finetune.records.material import HeatMap, Material
from finetune.records.metrics import WrongAnswer
from finetune.records.run import RunResult
from finetune.records.target_result import TargetResult
from finetune.report import summary
from finetune.report.answers import MATRIX_CLASSES, pair_name
from finetune.report.markup import Html, cut, joined, paragraph, shown_of, table, tag, text

CONFIDENT = 18  # most confident mistakes
SUSPECTS, NEIGHBORS = 12, 2
PER_PAIR, IN_PAIRS = 8, 96
PER_FINDING = 6
LISTED = 200  # wrong answers by name
Pair = tuple[int, int]


def wanted(result: RunResult, material: Material) -> list[str]:
    """The pictures that are shown where they can be had, the most important first."""
    found = [e.path for e in result.errors[:CONFIDENT]]
    found += [c.path for c in material.close]
    for suspect in _suspects(result.labels):
        found += [suspect.path, *suspect.neighbors[:NEIGHBORS]]
    found += [path for f in findings(result) for path in f.paths[:PER_FINDING]]
    return found + [e.path for some in by_pair(result).values() for e in some]


def findings(result: RunResult | TargetResult) -> list[Finding]:
    """What is wrong with the data, the worst first; what the verdict tells is left out."""
    return summary.worst_first([f for f in result.findings if f.code not in verdict.CODES])


def by_pair(result: RunResult) -> dict[Pair, list[WrongAnswer]]:
    """The wrong answers of each cell of the confusion matrix, the largest cells first."""
    if len(result.classes) > MATRIX_CLASSES:
        return {}
    number = {name: i for i, name in enumerate(result.classes)}
    cells: dict[Pair, list[WrongAnswer]] = defaultdict(list)
    for error in result.errors:
        cells[number[error.truth], number[error.answer]].append(error)
    out: dict[Pair, list[WrongAnswer]] = {}
    room = IN_PAIRS
    for pair in sorted(cells, key=lambda p: (-len(cells[p]), p)):
        if room <= 0:
            break
        out[pair] = cells[pair][: min(PER_PAIR, room)]
        room -= len(out[pair])
    return out


class Pictures:
    """Thumbnails, each in the page once however often it is shown.

    Args:
        found: JPEG by path.
        letter: What their names in the page begin with.
    """

    def __init__(self, found: Mapping[str, bytes], letter: str = "p") -> None:
        self._found = found
        self._letter = letter
        self._used: dict[str, int] = {}

    def show(self, path: str, words: str, marked: str = "") -> Html:
        """A picture with its words below; its name alone where it cannot be had.

        Args:
            path: Its name.
            words: What is to be seen in it, and what was answered.
            marked: Classes of the figure.
        """
        caption = tag("figcaption", joined(text(words), tag("span", path, kind="path")))
        if path not in self._found:
            return tag("figure", caption, kind=f"thumb bare {marked}".strip())
        number = self._used.setdefault(path, len(self._used))
        drawn = Html(
            f'<svg viewBox="0 0 112 112" role="img" aria-label="{text(path)}">'
            f'<use href="#{self._letter}{number}"/></svg>'
        )
        return tag("figure", joined(drawn, caption), kind=f"thumb {marked}".strip())

    def store(self) -> Html:
        """The pictures that were shown, to be put into the page once."""
        if not self._used:
            return Html("")
        stored = "".join(
            f'<symbol id="{self._letter}{number}" viewBox="0 0 112 112">'
            '<image width="112" height="112" href="data:image/jpeg;base64,'
            f'{base64.b64encode(self._found[path]).decode()}"/>'
            "</symbol>"
            for path, number in self._used.items()
        )
        return Html(f'<svg class="store" aria-hidden="true" width="0" height="0">{stored}</svg>')


def confident(result: RunResult, pictures: Pictures) -> Html:
    """The wrong answers that the model was surest of."""
    some = result.errors[:CONFIDENT]
    if not some or result.test is None:
        return Html("")
    total = mistakes.count(result.test)
    return joined(
        tag("h3", "Most confident mistakes"),
        paragraph(
            "Is the label wrong? Are two subjects in one picture? What do both classes have in "
            "common?",
            "soft",
        ),
        _row([pictures.show(e.path, _wrong(e), "wrong") for e in some]),
        shown_of(len(some), total, "wrong answers", "the others by pair and by name below"),
    )


def close(material: Material, pictures: Pictures) -> Html:
    """The test images of which the model was least certain."""
    if not material.close:
        return Html("")
    return joined(
        tag("h3", "Least certain"),
        _row(
            [
                pictures.show(
                    c.path,
                    f"{cut(c.answer)} {c.probability:.0%} or {cut(c.second)} "
                    f"{c.second_probability:.0%}; it is {cut(c.truth)}",
                    "" if c.answer == c.truth else "wrong",
                )
                for c in material.close
            ]
        ),
    )


def suspects(result: RunResult, pictures: Pictures) -> Html:
    """The labels that the other images contradict, with images that bear the suggested one."""
    some = _suspects(result.labels)
    if result.labels is None or not some:
        return Html("")
    groups = []
    for one in some:
        said = (
            f"labelled {cut(one.given)} ({one.given_probability:.0%}), perhaps "
            f"{cut(one.suggested)} ({one.suggested_probability:.0%})"
        )
        near = [
            pictures.show(path, f"similar, labelled {cut(one.suggested)}")
            for path in one.neighbors[:NEIGHBORS]
        ]
        groups.append(tag("div", joined(pictures.show(one.path, said, "wrong"), *near), kind="row"))
    return joined(
        tag("h3", "Suspect labels"),
        paragraph(result.labels.text, "soft"),
        tag("div", joined(*groups), kind="pairs"),
        shown_of(len(some), result.labels.found, "suspects", "finetune check DIR --labels has all"),
        paragraph("Nothing was relabelled. Correct what is wrong and train again."),
    )


def heat_maps(material: Material, overlays: Pictures) -> Html:
    """Where the evidence for right and wrong answers lies."""
    wrong = [m for m in material.heat_maps if m.truth != m.answer]
    right = [m for m in material.heat_maps if m.truth == m.answer]
    parts = []
    for name, some in (("Wrong answers", wrong), ("Right answers", right)):
        if some:
            shown = [overlays.show(m.path, _explained(m), _mark(m)) for m in some]
            parts.append(joined(tag("h3", name), _row(shown)))
    if not parts:
        return Html("")
    told = (
        "The lighter, the more a place speaks for the answer. Evidence beside the subject, on the "
        "background, a border or a label, means that the model has learnt something else. "
        "finetune explain does this for any image."
    )
    return joined(paragraph(told, "soft"), *parts)


def _explained(one: HeatMap) -> str:
    if one.truth == one.answer:
        return cut(one.truth)
    return f"{cut(one.truth)} taken for {cut(one.answer)}"


def _mark(one: HeatMap) -> str:
    return "" if one.truth == one.answer else "wrong"


def _suspects(found: LabelIssues | None) -> tuple[SuspectLabel, ...]:
    return () if found is None else found.suspects[:SUSPECTS]


def pairs(result: RunResult, pictures: Pictures) -> Html:
    """The pictures of each cell of the confusion matrix."""
    if result.test is None:
        return Html("")
    groups = by_pair(result)
    parts = []
    for (true, answer), some in groups.items():
        name = f"{result.classes[true]} taken for {result.classes[answer]}"
        total = result.test.confusion[true][answer] if result.test.confusion else len(some)
        shown = [pictures.show(e.path, f"{e.probability:.0%} sure", "wrong") for e in some]
        cut = shown_of(len(some), total, "images", "all are listed by name")
        heading = tag("h4", name, id=pair_name(true, answer))
        parts.append(tag("article", joined(heading, tag("div", joined(*shown), kind="row"), cut)))
    if not parts:
        return Html("")
    groups_shown = tag("div", joined(*parts), kind="pairs")
    return joined(tag("h3", "Mistakes by pair of classes"), groups_shown)


def listed(result: RunResult) -> Html:
    """The wrong answers by name, the most confident first."""
    if not result.errors or result.test is None:
        return Html("")
    rows = [[e.path, e.truth, e.answer, f"{e.probability:.1%}"] for e in result.errors[:LISTED]]
    cut = shown_of(
        len(rows), mistakes.count(result.test), "wrong answers", "more are in result.json"
    )
    head = ["image", "truth", "answer", "probability"]
    return joined(table(head, rows, "Wrong answers on the test images"), cut)


def of_findings(result: RunResult | TargetResult, pictures: Pictures) -> Html:
    """What is wrong with the data, with some of the pictures."""
    return joined(
        *[
            tag(
                "article",
                joined(
                    tag(
                        "h3",
                        joined(
                            tag("span", f.code, kind=f"code {f.severity}"),
                            text(f" {f.severity}: {f.title}"),
                        ),
                    ),
                    paragraph(f.hint),
                    _row([pictures.show(path, "", "") for path in f.paths[:PER_FINDING]]),
                    shown_of(
                        min(len(f.paths), PER_FINDING),
                        *(len(f.paths), "files", "all are in result.json"),
                    ),
                ),
            )
            for f in findings(result)
        ]
    )


def _wrong(error: WrongAnswer) -> str:
    return f"{cut(error.truth)} taken for {cut(error.answer)}, {error.probability:.0%} sure"


def _row(figures: Sequence[Html]) -> Html:
    return tag("div", joined(*figures), kind="gallery") if figures else Html("")
