"""Promises of `predict` at work: files, going on after a stop, features, pictures by class."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import SAMPLE, Recorder, small_run
from PIL import Image

import finetune
from finetune.records.answer_files import AnswerFiles
from finetune.records.answers import Prediction
from finetune.workflows import predict


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that answers quickly."""
    return small_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty leaves and one file that is no picture, in the middle."""
    root = Path(shutil.copytree(SAMPLE / "oak", tmp_path / "photos"))
    (root / "005x.jpg").write_bytes(b"no picture")
    return root


def lines(path: Path) -> list[dict]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def stopped(after: int, paths: list[Path], run: Path, files: AnswerFiles) -> list[str]:
    """Let go of `predict` after some answers, as Ctrl-C does; gives what was told."""
    heard = Recorder()
    answers = predict.run_prediction(paths, run, top=3, device="cpu", listener=heard, files=files)
    list(itertools.islice(answers, after))
    answers.close()  # type: ignore[attr-defined]
    return heard.notes


def test_all_files_have_the_answers_of_the_terminal(
    run_cli, run: Path, photos: Path, tmp_path: Path
) -> None:
    """CSV, JSON lines and stdout say the same in one order; nothing else is left behind."""
    a, b = tmp_path / "a.csv", tmp_path / "b.jsonl"

    done = run_cli("predict", photos, "--run", run, "--csv", a, "--jsonl", b, "--json")

    assert done.code == 3
    told = [json.loads(text) for text in done.out.splitlines()]
    assert told == lines(b)
    assert [row["path"] for row in csv.DictReader(io.StringIO(a.read_text()))] == [
        str(p) for p in sorted(photos.iterdir())
    ]
    assert {"path", "error"} == set(told[6])
    assert "005x.jpg" in done.err
    assert f"{a}: 41 answers, 1 of them of files that cannot be read" in done.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "b.jsonl", "photos"]


def test_jsonl_to_stdout_is_json(run_cli, run: Path) -> None:
    """`--jsonl -` gives what `--json` gives."""
    leaf = SAMPLE / "oak" / "000.jpg"

    told = [run_cli("predict", leaf, "--run", run, *w).out for w in (("--jsonl", "-"), ("--json",))]

    assert told[0] == told[1]
    assert told[0].startswith("{")


def test_parquet_has_the_same(run_cli, run: Path, photos: Path, tmp_path: Path) -> None:
    """A table with path, label, probability, error and the list of classes, in order."""
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    file, other = tmp_path / "a.parquet", tmp_path / "b.jsonl"

    run_cli("predict", photos, "--run", run, "--parquet", file, "--jsonl", other)

    rows = pq.read_table(file).to_pylist()
    assert [r["path"] for r in rows] == [r["path"] for r in lines(other)]
    assert rows[0]["top"] == lines(other)[0]["top"]
    assert rows[6]["label"] is None
    assert rows[6]["error"]


@pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
def test_a_stopped_predict_goes_on(
    run_cli, run: Path, photos: Path, tmp_path: Path, name: str
) -> None:
    """What was answered is not asked again, a half-written line is mended, the end is the same."""
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    file, features = tmp_path / f"out.{name}", tmp_path / "f.npy"
    whole, rows = tmp_path / f"whole.{name}", tmp_path / "whole.npy"
    words = ("predict", photos, "--run", run)
    run_cli(*words, f"--{name}", whole, "--features", rows)

    told = stopped(10, [photos], run, AnswerFiles(**{name: file}, features=features))
    assert told[-1] == f"32 answers are kept in {file}.part: --resume goes on"
    assert not file.exists()
    with (tmp_path / f"out.{name}.part").open("ab") as part:
        part.write(b'{"path":"half')
    refused = run_cli(*words, f"--{name}", file)
    done = run_cli(*words, f"--{name}", file, "--features", features, "--resume")

    assert refused.code == 3
    assert "Add --resume" in refused.err
    assert done.code == 3
    assert "going on after" in done.err
    assert file.read_bytes() == whole.read_bytes()
    assert features.read_bytes() == rows.read_bytes()
    assert not list(tmp_path.glob("*.part*"))


def test_a_finished_file_is_gone_on_with(run_cli, run: Path, photos: Path, tmp_path: Path) -> None:
    """Cut in the middle of a line, or with new pictures after the old, only these are answered."""
    file = tmp_path / "out.jsonl"
    words = ("predict", photos, "--run", run, "--jsonl", file)
    run_cli(*words)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])

    done = run_cli(*words, "--resume")
    assert file.read_bytes() == whole
    assert "going on after 20 answers" in done.err
    shutil.copy(SAMPLE / "birch" / "000.jpg", photos / "zz.jpg")
    run_cli(*words, "--resume")

    assert file.read_bytes().startswith(whole)
    assert len(lines(file)) == 42


def test_answers_of_another_run_are_not_mixed(
    run_cli, run: Path, photos: Path, tmp_path: Path
) -> None:
    """Another model, number of classes or other pictures: refused, said, and all stays."""
    file = tmp_path / "out.jsonl"
    run_cli("predict", photos, "--run", run, "--jsonl", file)
    other = Path(shutil.copytree(run, tmp_path / "other"))
    facts = json.loads((other / "run.json").read_text("utf-8"))
    facts["head"]["temperature"] *= 1.1
    (other / "run.json").write_text(json.dumps(facts), "utf-8")
    before = file.read_bytes()

    words = ("predict", photos, "--jsonl", file, "--resume", "--run")
    model = run_cli(*words, other)
    top = run_cli(*words, run, "--top", 1)
    (photos / "000.jpg").rename(photos / "000y.jpg")
    pictures = run_cli(*words, run)

    assert [done.code for done in (model, top, pictures)] == [3, 3, 3]
    assert "another run, or other options" in model.err
    assert "000.jpg is bäy & co with 0.58" in model.err
    assert "2 classes are listed" in top.err
    assert "picture 1 was" in pictures.err
    assert file.read_bytes() == before
    assert not list(tmp_path.glob("*.part*"))


def test_features_are_those_of_the_model(run_cli, run: Path, photos: Path, tmp_path: Path) -> None:
    """Row by row beside the answers, no number where a picture cannot be read."""
    file = tmp_path / "f.npy"

    alone = run_cli("predict", photos, "--run", run, "--features", file)
    run_cli("predict", photos, "--run", run, "--features", file, "--jsonl", tmp_path / "f.jsonl")

    rows = np.load(file, mmap_mode="r")
    model = finetune.load(run)
    assert alone.code == 2
    assert f"Add --jsonl {tmp_path / 'f.jsonl'}" in alone.err
    assert rows.shape == (41, 84)
    assert np.isnan(rows[6]).all()
    assert np.array_equal(rows[0], model.features(photos / "000.jpg")[0])
    one = lines(tmp_path / "f.jsonl")[0]["probability"]
    (plain,) = model.predict(photos / "000.jpg")
    assert one == pytest.approx(plain.probability, abs=1e-6)


@pytest.mark.parametrize("by", ["copy", "link"])
def test_pictures_are_sorted_by_class(
    run_cli, run: Path, photos: Path, tmp_path: Path, by: str
) -> None:
    """Each lies in the folder of its class; names that clash both stay, twice changes nothing."""
    (photos / "sub").mkdir()
    Image.new("RGB", (20, 20)).save(photos / "sub" / "000.jpg")
    into = tmp_path / "sorted"
    words = ("predict", photos, "--run", run, "--sort-into", into, "--sort-by", by)
    before = {p: p.stat().st_mtime_ns for p in photos.rglob("*")}

    done = run_cli(*words)
    placed = sorted(p.relative_to(into) for p in into.rglob("*.jpg"))
    again = run_cli(*words)

    model = finetune.load(run)
    assert (done.code, again.code) == (3, 3)
    assert "005x.jpg" in done.out
    assert len(placed) == 41
    assert sorted(p.relative_to(into) for p in into.rglob("*.jpg")) == placed
    assert {p.name for p in placed} >= {"000.jpg", "000-2.jpg"}
    for path in (p for n, p in enumerate(into / q for q in placed) if n % 10 == 0):
        assert path.is_symlink() == (by == "link")
        assert model.predict(path)[0].label == path.parent.name
    assert {p: p.stat().st_mtime_ns for p in photos.rglob("*")} == before


def test_pictures_are_not_sorted_into_their_source(
    run_cli, run: Path, photos: Path, tmp_path: Path
) -> None:
    """Inside of it, over it, through a link, or onto a file: refused before anything is read."""
    (tmp_path / "link").symlink_to(photos)
    (tmp_path / "file").touch()

    for into in (photos, photos / "new", tmp_path, tmp_path / "link" / "x", tmp_path / "file"):
        done = run_cli("predict", photos, "--run", run, "--sort-into", into)
        assert done.code == 2, into
        assert "--sort-into" in done.err
    assert len(list(photos.iterdir())) == 41


def test_an_archive_is_sorted_too_and_leads_nowhere(run_cli, tmp_path: Path, run: Path) -> None:
    """What lies in it is copied; neither its names nor a run's classes lead out of the folder."""
    shutil.make_archive(str(tmp_path / "a"), "zip", SAMPLE, "oak")
    bad = Path(shutil.copytree(run, tmp_path / "bad"))
    facts = json.loads((bad / "run.json").read_text("utf-8"))
    facts["classes"] = ["../../out", "..", *facts["classes"][2:]]
    (bad / "run.json").write_text(json.dumps(facts), "utf-8")

    words = ("--sort-into", tmp_path / "in" / "s", "--sort-by", "link", "--json")
    done = run_cli("predict", tmp_path / "a.zip", "--run", bad, *words)

    assert done.code == 0
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip", "bad", "in"}
    assert {p.name for p in (tmp_path / "in" / "s").iterdir()} <= {".._.._out", "_.."}
    assert len(list((tmp_path / "in").rglob("*.jpg"))) == 40


def test_a_list_on_stdin_is_answered(run_cli, run: Path, monkeypatch, tmp_path: Path) -> None:
    """Each of its names in order, without torch; one that is not there is named, exit code 3."""
    given = [str(p) for p in sorted((SAMPLE / "oak").iterdir())[:3]]
    text = "\0".join([given[2], "gone.jpg", *given[:2]]).encode()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text), isatty=lambda: False))

    done = run_cli("predict", "-", "--run", run, "--json")

    told = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 3
    assert [t["path"] for t in told] == [given[2], "gone.jpg", *given[:2]]
    assert "gone.jpg" in told[1]["error"]


def test_a_closed_pipe_ends_the_work(run: Path, tmp_path: Path) -> None:
    """`predict … --json | head -1` answers as it goes, without torch, and ends without a fault."""
    root = tmp_path / "many"
    root.mkdir()
    for number in range(600):
        (root / f"{number:05}.jpg").symlink_to(SAMPLE / "oak" / "000.jpg")
    script = f"{sys.executable} -m finetune predict {root} --run {run} --json --quiet | head -1"

    done = subprocess.run(
        ["sh", "-c", script], check=False, capture_output=True, text=True, timeout=60
    )

    assert json.loads(done.stdout)["path"].endswith("00000.jpg")
    assert done.stderr == ""


def test_a_model_streams_what_a_generator_gives(run: Path) -> None:
    """An answer comes before the last picture is asked for; all of them are those of `predict`."""
    paths = sorted((SAMPLE / "oak").iterdir())
    asked: list[Path] = []

    def pictures():
        for path in paths * 10:
            asked.append(path)
            yield path

    model = finetune.load(run)
    answers = model.stream(pictures())
    first = next(answers)

    assert len(asked) < 400
    assert [first, *answers] == list(model.predict(iter(paths * 10)))
    assert isinstance(first, Prediction)


def test_files_that_clash_are_refused(run_cli, run: Path, tmp_path: Path) -> None:
    """One name for two files, or --resume with none, ends before anything is read."""
    out = tmp_path / "out"
    leaf = SAMPLE / "oak" / "000.jpg"

    two = run_cli("predict", leaf, "--run", run, "--csv", out, "--jsonl", out)
    none = run_cli("predict", leaf, "--run", run, "--resume")

    assert (two.code, none.code) == (2, 2)
    assert "named twice" in two.err
    assert "Add --jsonl" in none.err
    assert not os.path.lexists(out)
