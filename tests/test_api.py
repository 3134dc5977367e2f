"""Promises to those who use Python: the commands as functions, and a model that answers."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from examples import COMPARISON, EXAMPLES, RESULT
from helpers import SAMPLE, Recorder, small_run
from PIL import Image

import finetune
from finetune import api
from finetune.heads import calibration
from finetune.records import keywords, option_table
from finetune.records.answers import Evaluation, Health, Prediction
from finetune.records.errors import ImageError, RunError, UsageError
from finetune.records.run import RunResult
from finetune.workflows import predict

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
LEAVES = sorted(SAMPLE.rglob("*.jpg"))[::50]
TYPED = {
    "train": keywords.TrainKeywords,
    "recommend": keywords.RecommendKeywords,
    "compare": keywords.CompareKeywords,
    "check": keywords.CheckKeywords,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an inference file."""
    return small_run(tmp_path_factory.mktemp("runs") / "small")


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's program trains, loads and predicts; what it prints has labels and shapes."""
    (code,) = re.findall(r"^```python\n(.+?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    (tmp_path / "sample_data").symlink_to(SAMPLE.parent)
    monkeypatch.chdir(tmp_path)
    said: list[str] = []

    exec(code, {"print": lambda *words: said.append(" ".join(map(str, words)))})

    assert said[0].startswith("linear-probe ")
    assert said[0].endswith("runs/few")
    assert "oak/000.jpg " in said[1]
    assert said[3].endswith("(1, 6) (40, 1280)")


def test_import_loads_nothing_and_prints_nothing() -> None:
    """`import finetune` is quick, and its functions are found by name, in `dir` and by star."""
    script = (
        "import sys, finetune\n"
        "assert not [m for m in sys.modules if m.startswith('finetune.')]\n"
        "assert {'train', 'load'} <= set(dir(finetune))\n"
        "finetune.train, finetune.load\n"
        "assert not {'torch', 'openvino', 'rich', 'typer'} & set(sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", TYPED)
def test_keywords_are_the_options_of_the_command_line(command: Any) -> None:
    """Each option has a typed keyword, named as its flag; choices and kinds are the table's."""
    hints = get_type_hints(TYPED[command])
    named = api.keywords(command)

    assert set(hints) == set(named)
    for keyword, name in named.items():
        option = option_table.NAMED[name]
        literal = str(hints[keyword]).startswith(("typing.Literal", "typing.Optional"))
        words = re.findall(r"'([^']+)'", str(hints[keyword])) if literal else []
        assert set(words) == set(option.choices), keyword
        kind = {"int": "int", "float": "float", "flag": "bool", "switch": "bool"}.get(
            option.kind, ""
        )
        assert kind in str(hints[keyword])


def test_options_reach_the_workflow_as_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Names, times and paths arrive as the command line hands them over."""
    seen: list[Any] = []
    monkeypatch.setattr(
        "finetune.workflows.train.run_training", lambda options, *_: seen.append(options)
    )

    finetune.train(
        SAMPLE, strategy="deep", image_size=64, budget="2m", near_duplicates="ignore", out=Path("x")
    )

    (options,) = seen
    assert options.data.root == str(SAMPLE)
    assert options.data.near_duplicates == "ignore"
    assert options.decision.budget_s == 120
    assert options.training.overrides == {"side_px": 64}
    assert options.output.out == "x"
    assert options.output.command.startswith(f"finetune.train({str(SAMPLE)!r}, strategy='deep'")


def test_an_option_that_there_is_not_is_told_with_the_nearest() -> None:
    """As Python does for a wrong keyword."""
    with pytest.raises(TypeError, match="no option epoch; is epochs meant"):
        finetune.train(SAMPLE, epoch=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="needs a folder"):
        finetune.train()
    with pytest.raises(UsageError, match="--strategy is 'magic'"):
        finetune.train(SAMPLE, strategy="magic")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        finetune.nothing  # noqa: B018 - that is what is tried


def test_functions_give_the_records_of_the_commands(
    leaves_run: tuple[RunResult, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """Evaluate and check answer with their records, a listener hears, and nothing is printed."""
    heard = Recorder()

    found = finetune.evaluate(SAMPLE, leaves_run[1], unseen=True)
    health = finetune.check(SAMPLE, max_per_class=5, listener=heard)

    assert isinstance(found, Evaluation)
    assert leaves_run[0].test is not None
    assert found.metrics.accuracy == leaves_run[0].test.accuracy
    assert isinstance(health, Health)
    assert heard.last != (0, 0)
    assert capfd.readouterr() == ("", "")


def test_a_model_answers_as_predict_does(run: Path) -> None:
    """Paths give the records of `predict`, one that cannot be read its error."""
    paths = [*LEAVES, Path("no.jpg")]
    expected = list(predict.run_prediction(paths, run, top=2, device="auto", listener=Recorder()))

    found = finetune.load(run).predict(paths, top=2)

    assert [(p.path, p.label, p.error) for p in found] == [
        (p.path, p.label, p.error) for p in expected
    ]
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-6)
        assert [c.label for c in one.top] == [c.label for c in other.top]


def test_a_model_takes_images_and_arrays(run: Path) -> None:
    """One picture as a path, as Pillow's image, as an array, and turned by EXIF, is one answer."""
    model, path = finetune.load(run), LEAVES[0]
    image = Image.open(path).convert("RGB")
    array = np.asarray(image)
    image.getexif()[0x0112] = 6
    upright = image.transpose(Image.Transpose.ROTATE_270)

    rows = model.logits([path, array, np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])])
    turned = model.logits([image, upright])

    assert rows.shape == (3, len(model.classes))
    assert np.allclose(rows[0], rows[1], atol=1e-2)  # by its path it is decoded reduced
    assert np.array_equal(rows[1], rows[2])
    assert np.array_equal(turned[0], turned[1])
    assert model.logits(np.stack([array, array])).shape == (2, 2)
    assert [p.path for p in model.predict([array, array])] == ["image 0", "image 1"]
    assert len(model.predict(SAMPLE / "oak")) == 40


def test_logits_are_those_of_the_probabilities(run: Path) -> None:
    """Their softmax is what predict says."""
    model = finetune.load(run)

    likely = calibration.probabilities(model.logits(LEAVES), 1.0)

    assert np.allclose(likely.max(axis=1), [p.probability for p in model.predict(LEAVES)])


def test_features_are_what_the_classifier_reads(run: Path, tmp_path: Path) -> None:
    """The head's weights on them give the logits, from the inference file and from torch alike."""
    from finetune.runs import run_folder  # noqa: PLC0415 - only its weights are wanted

    model, loaded = finetune.load(run), run_folder.load(run)
    plain = finetune.load(small_run(tmp_path / "plain", network=False))

    quick, slow = model.features(LEAVES), plain.features(LEAVES)

    expected = (quick @ loaded.weight.T + loaded.bias) / loaded.facts.head.temperature
    assert np.allclose(model.logits(LEAVES), expected, atol=1e-3)
    assert np.allclose(quick, slow, atol=1e-3)


def test_what_is_no_picture_is_refused(run: Path, tmp_path: Path) -> None:
    """Numbers, other kinds of arrays, no run: each is told with what to give."""
    model = finetune.load(run)

    for wrong in (3, np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8)):
        with pytest.raises(UsageError, match="image 0"):
            model.predict([wrong])  # type: ignore[list-item]
    with pytest.raises(ImageError):
        model.logits(["no.jpg"])
    with pytest.raises(ImageError, match="more than 8 bits"):
        model.logits(Image.new("I;16", (8, 8)))
    with pytest.raises(RunError):
        finetune.load(tmp_path)


ADVICE = next(e for e in EXAMPLES if type(e).__name__ == "Advice")


@pytest.mark.parametrize("record", [RESULT, ADVICE, COMPARISON], ids=lambda r: type(r).__name__)
def test_answers_show_as_tables_in_a_notebook(record: Any) -> None:
    """Each field has its row; what comes from outside cannot draw."""
    page = record._repr_html_()

    for name in vars(record):
        assert f">{name}</th>" in page
    assert "bäy &amp; co" in page or "bäy" not in page


def test_predictions_show_their_pictures_in_a_notebook(run: Path) -> None:
    """A table with a small picture, the label and the probability; a fault in words."""
    page = finetune.load(run).predict([LEAVES[0], "<b>.jpg"])._repr_html_()

    assert page.count("<img src='data:image/webp;base64,") == 1
    assert "&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page


def test_signatures_name_their_options() -> None:
    """What an editor shows of `train` are its options, typed."""
    hints = inspect.signature(api.train).parameters["options"].annotation

    assert "TrainKeywords" in str(hints)
    assert Prediction.__dataclass_params__.frozen  # type: ignore[attr-defined]
