from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from helpers import SAMPLE, Recorder, options_for
from PIL import Image, ImageDraw

from finetune.deploy import predictor
from finetune.heads import platt
from finetune.records.errors import UsageError
from finetune.records.events import Silent
from finetune.records.file_names import MODEL
from finetune.records.target_result import TargetResult
from finetune.runs import run_folder
from finetune.storage import atomic_files
from finetune.workflows.train import repetition, run_training

COLORS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220)}


def drawn(root: Path, *, number: bool, count: int = 60, shuffled: bool = False) -> Path:
    """A table of pictures: a disc whose width is the number, or squares of labelled colors."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(count):
        image = Image.fromarray(rng.integers(90, 160, (64, 64, 3), dtype=np.uint8))
        draw = ImageDraw.Draw(image)
        if number:
            said = rng.uniform(4, 28)
            draw.ellipse((32 - said, 32 - said, 32 + said, 32 + said), fill=(250, 250, 40))
            text = f"{2 * said:.3f}"
        else:
            on = [name for name in COLORS if rng.random() < 0.5]
            for k, name in enumerate(on):
                draw.rectangle((4 + 20 * k, 8, 20 + 20 * k, 56), fill=COLORS[name])
            text = ";".join(on)
        image.save(root / f"{i}.png")
        rows.append([f"{i}.png", text])
    if shuffled:
        texts = rng.permutation([text for _, text in rows])
        rows = [[name, text] for (name, _), text in zip(rows, texts, strict=True)]
    table = root / "labels.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "width" if number else "labels"], *rows])
    return table


def trained(table: Path, out: Path, **options: object) -> TargetResult:
    """One training; the column of numbers is named as such."""
    extra = {} if "labels" in table.read_text()[:20] else {"label_column": "width"}
    asked = {"strategy": "linear-probe", "root": str(table), "out": str(out), **extra, **options}
    result = run_training(options_for(**asked), Recorder())
    assert isinstance(result, TargetResult)
    return result


@pytest.fixture(scope="module")
def number(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TargetResult]:
    """A table of numbers, and the probe that learned them."""
    home = tmp_path_factory.mktemp("number")
    table = drawn(home / "data", number=True)
    return table, trained(table, home / "run")


def test_a_number_is_learned_and_the_run_says_the_same(number: tuple[Path, TargetResult]) -> None:
    """The kept run answers in the number's own unit, as the test has measured."""
    table, result = number
    assert result.test is not None
    assert result.test.r2 is not None
    assert result.test.r2 > 0.8
    assert result.better_than_baseline
    run = Path(result.run)
    facts = run_folder.load_facts(run)
    tested = run_folder.load_splits(run).test
    paths = [table.parent / s.path for s in tested]

    said = predictor.run_logits(run, facts, paths, device="cpu", listener=Silent())

    truth = np.array([s.values[0] for s in tested])
    found = np.asarray(said.rows[:], np.float64)[:, 0]
    assert np.abs(found - truth).mean() == pytest.approx(result.test.mae, rel=1e-3)
    assert facts.target is not None
    assert facts.target.within[0] > 0
    assert run_folder.load_target_result(run).test == result.test


def test_labels_are_learned_each_by_itself(tmp_path: Path) -> None:
    """Images with none, one or several labels; each label has its threshold in the run."""
    table = drawn(tmp_path / "data", number=False)

    result = trained(table, tmp_path / "run")

    assert result.names == ("blue", "green", "red")
    assert result.test is not None
    assert result.test.map is not None
    assert result.test.map > 0.9
    facts = run_folder.load_facts(Path(result.run))
    assert facts.target is not None
    assert len(facts.target.thresholds) == 3
    assert result.test.baseline < result.test.map
    tested = run_folder.load_splits(Path(result.run)).test
    paths = [table.parent / s.path for s in tested]
    said = predictor.run_logits(Path(result.run), facts, paths, device="cpu", listener=Silent())
    likely = platt.probabilities(np.asarray(said.rows[:], np.float64))
    wrong = (likely >= facts.target.thresholds) != np.array([s.values for s in tested])
    assert result.test.exact == pytest.approx(1 - wrong.any(axis=1).mean())


def test_numbers_dealt_out_by_chance_are_not_learned(tmp_path: Path) -> None:
    """Shuffled numbers have an R² of about zero, and the verdict says so."""
    table = drawn(tmp_path / "data", number=True, shuffled=True)

    result = trained(table, tmp_path / "run")

    assert result.estimate.r2 is not None
    assert result.estimate.r2 < 0.15
    assert result.better_than_baseline is False
    assert "not surely better" in result.verdict


def test_the_same_seed_gives_the_same_model(number: tuple[Path, TargetResult]) -> None:
    """Twice the same table and seed are the same bytes."""
    table, result = number

    again = trained(table, Path(result.run).with_name("again"))

    one, two = (atomic_files.digest_file(Path(r.run) / MODEL) for r in (result, again))
    assert one == two


def test_a_tuned_model_stays_only_where_it_beats_the_probe(
    number: tuple[Path, TargetResult], tmp_path: Path
) -> None:
    """One epoch at a rate of next to nothing changes nothing, so the probe is returned."""
    overrides = {"epochs": 1, "lr": 1e-9, "side_px": 64}

    result = trained(
        number[0], tmp_path / "run", strategy="partial", loss="huber", options=overrides
    )

    assert result.floor is not None
    assert result.floor.kept == "probe"
    assert result.strategy in ("linear-probe", "stage-probe")
    assert result.loss == "huber"


@pytest.mark.slow
def test_tuning_learns_what_the_probe_cannot(tmp_path: Path) -> None:
    """On few stages and small pictures a tuned network is kept, with frozen stages as they were."""
    table = drawn(tmp_path / "data", number=True, count=80)

    result = trained(
        table, tmp_path / "run", strategy="deep", options={"epochs": 10, "side_px": 64}
    )

    assert result.floor is not None
    assert result.strategy == "deep"
    assert result.test is not None
    assert (result.test.r2 or 0) > 0.9
    assert result.plan.augment.rotation_deg == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"loss": "bce"}, "--loss bce is none of --target number"),
        ({"prior": "uniform"}, "--prior uniform is about shares"),
        ({"metric": "accuracy"}, "--metric accuracy is none of --target number"),
        ({"strategy": "blend"}, "--strategy blend is for classes"),
    ],
)
def test_what_is_for_classes_is_refused(
    number: tuple[Path, TargetResult], tmp_path: Path, options: dict[str, str], told: str
) -> None:
    """An option that has no meaning for numbers is named, and no run is left."""
    with pytest.raises(UsageError, match=told):
        trained(number[0], tmp_path / "run", **options)

    assert not (tmp_path / "run").exists()


def test_a_loss_of_numbers_is_refused_for_classes(tmp_path: Path) -> None:
    """Folders of classes have no absolute error."""
    with pytest.raises(UsageError, match="--loss mae is for --target labels or number"):
        run_training(
            options_for(root=str(SAMPLE), out=str(tmp_path / "run"), loss="mae"), Recorder()
        )


def test_a_run_of_numbers_is_repeated_bit_for_bit(number: tuple[Path, TargetResult]) -> None:
    """`--from-run` asks for the same and tells that the model is the same."""
    _, result = number
    like, heard = Path(result.run), Recorder()
    asked = repetition(like, options_for(root="", out=str(like.with_name("repeated"))))

    run_training(asked, heard, like)

    assert any("the same model, bit for bit" in note for note in heard.notes)
