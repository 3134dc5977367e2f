from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from examples import (
    AUGMENT,
    FACTS,
    FLOOR,
    HISTORY,
    LABELS,
    MATERIAL,
    PLAN,
    PROFILE,
    RESULT,
    SUSPECT,
    WRONG,
)

from finetune.decision import table
from finetune.metrics import classification, verdict
from finetune.records import option_table
from finetune.records.analysis import Reason, StageScore
from finetune.records.choices import Similarity, Size
from finetune.records.dataset import Finding
from finetune.records.material import Material
from finetune.records.metrics import ClassMetrics
from finetune.records.run import RunFacts, RunResult
from finetune.records.training import EpochRecord
from finetune.report import gallery, html

EVIL = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>"
VOID = {"meta"}
PICTURE = b"\xff\xd8\xff...JFIF"


class Page(HTMLParser):
    """Reads a page: tags opened and closed, text, and what was in the marked cells."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[str] = []
        self.faults: list[str] = []
        self.text: list[str] = []
        self.marked: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._in_marked = False
        self.feed(source)
        self.close()
        self.faults += [f"{tag} left open" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if ("class", "here") in attrs:
            self._in_marked = True
            self.marked.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self._in_marked = False
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"{tag} closed inside {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._in_marked:
            self.marked[-1] += data

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page(
    facts: RunFacts = FACTS,
    result: RunResult = RESULT,
    history: Sequence[EpochRecord] = HISTORY,
    material: Material = MATERIAL,
) -> Page:
    """The report, parsed."""
    return Page(source(facts, result, history, material))


def source(
    facts: RunFacts = FACTS,
    result: RunResult = RESULT,
    history: Sequence[EpochRecord] = HISTORY,
    material: Material = MATERIAL,
) -> str:
    """The report with a picture for each file that it would show."""
    pictures = dict.fromkeys(gallery.wanted(result, material), PICTURE)
    heat = {one.path: PICTURE for one in material.heat_maps}
    return html.to_html(facts, result, material, history, table.actions(), pictures, heat)


def hostile() -> tuple[RunFacts, RunResult]:
    """A run in which every text that comes from outside is an attack."""
    classes = (EVIL, "b")
    metrics = replace(RESULT.estimate, per_class=(ClassMetrics(EVIL, 5, 1.0, 0.8, 0.9),) * 2)
    plan = replace(PLAN, optimiser=EVIL, why={"lr": EVIL})
    advice = replace(RESULT.recommendation, plan=plan, reasons=(Reason("user", EVIL),))
    result = replace(
        RESULT,
        classes=classes,
        test=metrics,
        estimate=metrics,
        recommendation=advice,
        stages=(StageScore(EVIL, (EVIL,), 1, 0.5, 0.5, 0.5, 0.5),) * 2,
        floor=replace(FLOOR, reason=EVIL),
        findings=(Finding(EVIL, "warning", EVIL, EVIL, (EVIL,)),),
        errors=(replace(WRONG, path=EVIL, truth=EVIL, answer="b"),),
        labels=replace(
            LABELS,
            suspects=(replace(SUSPECT, path=EVIL, given=EVIL, suggested=EVIL, neighbors=(EVIL,)),),
            text=EVIL,
        ),
    )
    facts = replace(
        FACTS,
        classes=classes,
        backbone=replace(FACTS.backbone, name=EVIL, weights=EVIL, licence=EVIL),
        data_root=f"/data/{EVIL}",
        command=f"finetune train {EVIL}",
        created=EVIL,
        versions={EVIL: EVIL},
    )
    return facts, result


def hostile_material() -> Material:
    """The same of what is shown beside the result."""
    assert MATERIAL.image_map is not None
    similar = replace(PROFILE.similarity, parts=(replace(PROFILE.similarity.parts[0], name=EVIL),))
    point = replace(MATERIAL.image_map.points[0], path=EVIL, answer=1)
    return replace(
        MATERIAL,
        profile=replace(PROFILE, similarity=similar),
        close=(replace(MATERIAL.close[0], path=EVIL, truth=EVIL, answer=EVIL, second=EVIL),),
        heat_maps=(replace(MATERIAL.heat_maps[0], path=EVIL, truth=EVIL, answer=EVIL),),
        image_map=replace(MATERIAL.image_map, points=(point,), text=EVIL),
        robustness=(replace(MATERIAL.robustness[0], kind=EVIL, what=EVIL),),
    )


VARIANTS = {
    "everything": (FACTS, RESULT, HISTORY),
    "hostile": (*hostile(), HISTORY),
    "no test": (FACTS, replace(RESULT, test=None), HISTORY),
    "no history": (FACTS, RESULT, ()),
    "one epoch": (FACTS, RESULT, HISTORY[:1]),
    "no validation": (
        FACTS,
        RESULT,
        [replace(r, val_loss=None, val_accuracy=None, best=False) for r in HISTORY],
    ),
    "losses of zero": (FACTS, RESULT, [replace(r, train_loss=0.0, val_loss=0.0) for r in HISTORY]),
    "no floor": (FACTS, replace(RESULT, floor=None), ()),
    "one probe": (FACTS, replace(RESULT, stages=RESULT.stages[:1]), ()),
    "no findings": (FACTS, replace(RESULT, findings=()), ()),
    "data at the root": (replace(FACTS, data_root="/"), RESULT, ()),
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_report_is_a_whole_page(
    variant: tuple[RunFacts, RunResult, Sequence[EpochRecord]],
) -> None:
    """Whatever a run has or lacks, every tag is closed in order and the main parts are there."""
    found = page(*variant)

    assert found.faults == []
    for tag in ("html", "head", "style", "body", "h1", "main", "nav"):
        assert found.seen.count(tag) == 1
    assert "87.5%" in found.words


def test_hostile_names_stay_text() -> None:
    """Names of classes, files, folders and commands are shown, and none becomes a tag."""
    text = source(*hostile(), HISTORY, hostile_material())

    found = Page(text)

    assert found.faults == []
    assert "<script" not in text
    assert "<img" not in text
    assert not [a for a, _ in found.attributes if a.startswith("on")]
    # class table twice, confusion once, stages twice, reason, floor, three in findings, two in the
    # plan, backbone, weights, licence, date, command and two in versions
    assert found.words.count("alert(1)") >= 19


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """One file: no address is fetched, no script runs."""
    found = page()

    assert not {"script", "link", "img", "iframe"} & set(found.seen)
    links = [v or "" for a, v in found.attributes if a in {"src", "href"}]
    assert [v for v in links if not v.startswith(("#", "data:image/jpeg;base64,"))] == []
    assert any(v.startswith("data:") for v in links)


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.parametrize("similarity", ["similar", "different"])
def test_the_chosen_cell_alone_is_marked(size: Size, similarity: Similarity) -> None:
    """The decision table has one marked cell, that of the recommendation, as the table has it."""
    advice = replace(RESULT.recommendation, size=size, similarity=similarity)

    found = page(result=replace(RESULT, recommendation=advice))

    assert found.marked == [table.rule_for(size, similarity).action]


def test_accuracy_stands_with_its_interval_source_and_baseline() -> None:
    """The first figure is the test accuracy, with what it was measured on."""
    words = page().words

    assert "87.5% accuracy on 8 test images" in words
    assert "52.9% to 97.8%" in words
    assert "commonest class gives 62.5%" in words


def test_without_a_test_the_estimate_and_its_source_are_shown() -> None:
    """Where no image was kept for a test the page says what the figure rests on."""
    estimate = replace(RESULT.estimate, accuracy=0.512)

    bare = Material(profile=PROFILE)
    words = page(result=replace(RESULT, test=None, estimate=estimate), material=bare).words

    assert "51.2% accuracy on 300 validation images" in words
    assert "accuracy on 8 test images" not in words


def test_reasons_and_the_floor_are_given() -> None:
    """Every reason, what would flip the choice, its warning, and what the floor decided."""
    advice = replace(RESULT.recommendation, warning="TROUBLE")
    words = page(result=replace(RESULT, recommendation=advice)).words

    assert "TROUBLE" in words
    assert RESULT.recommendation.flips[0] in words

    for reason in RESULT.recommendation.reasons:
        assert reason.text in words
    assert FLOOR.reason in words


def test_the_distance_is_shown_part_by_part() -> None:
    """Each part has its value, both thresholds and what it says; what is not there is a dash."""
    words = page().words

    assert "BatchNorm drift 0.75 0.60 0.40 similar 1 - drift / that of noise" in words
    assert "ImageNet confidence 0.50 – – no vote shown only" in words
    assert "stage profile – – 2.00 uncertain gain of the best lower stage" in words


def test_the_plan_shows_every_setting_with_its_reason() -> None:
    """All fields of plan and augmentation are listed with their values and why."""
    words = page().words

    settings = (set(vars(PLAN)) - {"augment", "why"}) | set(vars(AUGMENT))
    assert all(f" {option_table.spoken(name)} " in words for name in settings)
    assert "0.0003 measured for the tests" in words
    assert "20 user" in words


def test_classes_are_listed_with_their_rates() -> None:
    """Each class has its row, and what is undefined is a dash."""
    words = page().words

    assert "ash 5 100.0% 80.0% 89.0%" in words
    assert "bäy & co 3 – 0.0% 0.0%" in words


def test_findings_show_at_most_six_files() -> None:
    """A finding has its code, title and hint, and six of its files with how many there are."""
    many = Finding("FT120", "warning", "9 lost", "Mend them.", tuple(f"f{i}" for i in range(9)))

    words = page(result=replace(RESULT, findings=(many,))).words

    assert "FT120 warning: 9 lost Mend them. f0 f1 f2 f3 f4 f5 6 of 9 files shown" in words


def test_the_origin_of_the_model_is_stated() -> None:
    """Weights, licence, date, command, seed and versions are on the page."""
    words = page().words

    for part in ("a package 0.1.0", "Apache-2.0", FACTS.created, FACTS.command, "seed 0", "2.6"):
        assert part in words


def test_two_curves_show_training_and_validation() -> None:
    """Two epochs draw two lines and name the epoch that was kept; one draws none."""
    found, short = page(), page(history=HISTORY[:1])

    assert ("class", "s1 dashes") in found.attributes
    assert "Loss by epoch; kept: epoch 1." in found.words
    assert "Loss by epoch" not in short.words


def test_without_validation_only_training_is_drawn() -> None:
    """A run tuned on all images has one curve, and the last epoch was kept."""
    history = [replace(r, val_loss=None, val_accuracy=None, best=False) for r in HISTORY]

    found = page(history=history)

    assert ("class", "s1 dashes") not in found.attributes
    assert "kept: the last, 2" in found.words


def test_where_no_epoch_was_better_the_page_says_so() -> None:
    """With validation but no best epoch the head that tuning started from was kept."""
    words = page(history=[replace(r, best=False) for r in HISTORY]).words

    assert "kept: epoch" not in words
    assert "no epoch was better than the probe's head" in words


def test_the_report_of_a_thousand_classes_can_be_opened() -> None:
    """Too many classes for a matrix: the most frequent confusions, in less than five megabytes."""
    n = 1000
    labels = np.arange(n)
    rows = np.eye(n)[np.where(labels < 2, 1 - labels, labels)]  # the first two answered crosswise
    metrics = classification.measure(rows, labels, [f"c{i}" for i in range(n)])
    result = replace(RESULT, classes=tuple(f"c{i}" for i in range(n)), test=metrics)

    text = source(FACTS, result, (), Material(profile=PROFILE))

    assert len(text) < 5e6
    assert "true answered images c0 c1 1 of 1 c1 c0 1 of 1" in Page(text).words


def test_wrong_answers_are_listed_and_cut() -> None:
    """The first two hundred, with their names escaped, and how many there are in all."""
    wrong = tuple(replace(WRONG, path=f"{EVIL}/{i}") for i in range(300))
    assert RESULT.test is not None
    test = replace(RESULT.test, n=600, confusion=((300, 300), (0, 0)))

    text = source(FACTS, replace(RESULT, test=test, errors=wrong), ())

    words = Page(text).words
    assert "<script" not in text
    assert "200 of 300 wrong answers shown; more are in result.json" in words
    assert "62.5%" in words
    assert [f"/{i} " in words for i in (0, 199, 200)] == [True, True, False]


def test_the_report_says_what_is_no_better_than_the_commonest_class() -> None:
    """In bold beside the figure; a result that is better needs no word."""
    text = "no better than always answering 'ash'"

    poor = page(result=replace(RESULT, better_than_commonest=False, verdict=text))
    good = page(result=replace(RESULT, better_than_commonest=True, verdict="better than …"))

    assert "No better than always answering 'ash'." in poor.words
    assert "etter than" not in good.words


def test_a_verdict_is_told_once_with_what_to_do() -> None:
    """What a result comes to stands beside its figures and not among findings about the data."""
    found = verdict.NO_BETTER.finding("no better than always answering 'a'", ())
    told = replace(RESULT, better_than_commonest=False, verdict=found.title, findings=(found,))

    text = page(result=told).words

    assert text.lower().count("no better than always answering") == 1
    assert found.hint.partition("`")[0] in text
    assert "Findings about the data" not in text


def test_a_page_that_would_be_too_large_leaves_its_pictures_out() -> None:
    """At most five megabytes: names in place of pictures, and nothing else is lost."""
    huge = dict.fromkeys(gallery.wanted(RESULT, MATERIAL), bytes(4_000_000))
    small = dict.fromkeys(huge, PICTURE)
    told = (FACTS, RESULT, MATERIAL, HISTORY, table.actions())

    page, other = html.to_html(*told, huge), html.to_html(*told, small)

    assert len(page.encode()) < html.MOST_BYTES
    assert "data:image" in other
    assert "data:image" not in page
    assert Page(page).words == Page(other).words


def test_cells_of_the_confusion_lead_to_their_pictures() -> None:
    """Each link of the matrix ends at the pictures of its pair; right answers have none."""
    wrong = (replace(WRONG, truth="ash", answer="bäy & co", path="ash/1.png"), WRONG)
    text = source(FACTS, replace(RESULT, errors=wrong))

    assert '<a href="#pair-0-1">1</a>' in text
    assert '<h4 id="pair-0-1">ash taken for bäy &amp; co</h4>' in text
    assert "#pair-0-0" not in text


def test_suspect_labels_stand_beside_what_they_look_like() -> None:
    """The given and the suggested label, and images that bear the suggested one."""
    words = page(result=replace(RESULT, labels=LABELS)).words

    assert LABELS.text in words
    assert f"labelled {SUSPECT.given}" in words
    assert f"similar, labelled {SUSPECT.suggested}" in words
