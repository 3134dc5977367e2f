"""Promises of the charts: round values, points in their place, told to those who do not see."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from examples import FACTS, MATERIAL, PROFILE, RECOMMENDATION, RESULT

from finetune.records.material import Material
from finetune.report import charts, decision_picture, known_sets, measured, next_steps
from finetune.report.charts import Axis

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_an_axis_places_values_between_its_ends() -> None:
    """Linear and logarithmic; what lies beyond lies on the end."""
    plain = Axis(low=0, high=10, start=100, end=0)
    log = Axis(low=1, high=1000, start=0, end=300, log=True)

    assert [plain(v) for v in (0, 5, 10, 99, -1)] == [100, 50, 0, 0, 100]
    assert [log(v) for v in (1, 10, 1000)] == [0, 100, 300]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0.5, 1, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]), (3, 3, [3])],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    """A handful of round values from end to end."""
    assert Axis(low=low, high=high, start=0, end=1).ticks() == pytest.approx(ticks)


def test_a_chart_is_told_and_has_its_numbers() -> None:
    """Title and description are named by the picture, and the table stands behind it."""
    page = measured.curve(MATERIAL)

    assert 'role="img" aria-labelledby="curve-t curve-d"' in page
    assert '<title id="curve-t">' in page
    assert '<desc id="curve-d">Error by number of images: 200 30.0%; 400 25.0%' in page
    assert "<details><summary>The numbers</summary>" in page
    assert "<td>12.5%</td><td>expected: 10.0% to 18.8%</td>" in page


def test_shapes_tell_series_apart_without_color() -> None:
    """Eight series have eight outlines."""
    outlines = {charts.marker(i, 0, 0, 5).partition(" class=")[0] for i in range(charts.SHAPES)}

    assert len(outlines) == charts.SHAPES


def test_the_data_set_stands_in_its_cell_with_the_distances() -> None:
    """The picture says where it stands; the words say how far each boundary is."""
    page = decision_picture.picture(PROFILE, RECOMMENDATION)

    assert "this data set: 1,200 images" in page
    assert "It is taken as large and similar." in page
    assert decision_picture.distances(PROFILE)[0] == (
        "Size: 1,200 images; between 1,000 and 5,000 the learning curve decides"
    )
    assert "different up to 0.40 (0.35 away)" in decision_picture.distances(PROFILE)[1]


def test_without_a_measured_similarity_there_is_no_picture() -> None:
    """Other backbones may tell nothing of it: then the table stands alone."""
    parts = tuple(replace(p, value=None) for p in PROFILE.similarity.parts)
    unknown = replace(PROFILE, similarity=replace(PROFILE.similarity, parts=parts))

    assert decision_picture.picture(unknown, RECOMMENDATION) == ""


def test_the_known_sets_are_those_of_the_benchmark() -> None:
    """Each at its largest size, as `benchmarks/regret*.csv` have it."""
    evidence, accuracy = {}, {}
    with (BENCHMARKS / "regret_evidence.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["seed"] == "0":
                evidence[row["data"], int(row["per_class"])] = row
    with (BENCHMARKS / "regret.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["seed"] == "0":
                key = row["data"], int(row["per_class"]), row["kind"]
                accuracy[key] = float(row["accuracy"])

    for one in known_sets.KNOWN_SETS:
        size = max(n for name, n in evidence if name == one.name)
        row = evidence[one.name, size]
        probe = max(accuracy[one.name, size, k] for k in ("linear-probe", "stage-probe"))
        assert one.images == int(row["images"])
        assert one.drift == pytest.approx(float(row["drift"]), abs=0.006)
        assert one.agreement == pytest.approx(float(row["agreement"]), abs=0.006)
        assert one.gain == pytest.approx(100 * (accuracy[one.name, size, "deep"] - probe), abs=0.06)
    assert {one.name for one in known_sets.KNOWN_SETS} == {name for name, _ in evidence}


def test_more_images_are_advised_where_they_help() -> None:
    """Only where the learning curve says so; other features where it has come to rest."""
    size = PROFILE.size
    hungry = replace(MATERIAL, profile=replace(PROFILE, size=replace(size, limit="data")))

    told = next_steps.advice(FACTS, RESULT, hungry)

    assert "More images of the same kind help most: with 2,400" in told
    assert "--backbone auto" in next_steps.advice(FACTS, RESULT, MATERIAL)
    assert "images of the same kind" not in next_steps.advice(
        FACTS, RESULT, Material(profile=PROFILE)
    )


def test_a_report_says_how_to_add_what_it_has_not() -> None:
    """A short training's page names the command for heat maps and robustness; a full one none."""
    bare = next_steps.advice(FACTS, RESULT, Material(profile=PROFILE))

    assert "heat maps of right and wrong answers and how accuracy falls" in bare
    assert "report" in bare
    assert "--full" in bare
    assert "--full" not in next_steps.advice(FACTS, RESULT, MATERIAL)
