"""The command line: answers on stdout, exit codes, and the JSON other programs rely on."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from helpers import SAMPLE
from PIL import Image

from finetune.cli import after
from finetune.records.answers import Advice
from finetune.runs.run_folder import load, load_facts, load_result
from finetune.training import recipe
from finetune.workflows import recommend, train


@pytest.fixture
def run_folder(leaves_run) -> Path:
    return leaves_run[1]


def test_train_json_is_one_object_with_the_contract(run_cli, image_folder, tmp_path: Path) -> None:
    """Stdout holds one JSON object with the keys other programs read, and nothing else."""
    root = image_folder({"a": 12, "b": 12})

    probe = ("--strategy", "linear-probe", "--batch-size", 8)
    done = run_cli("train", root, "--out", tmp_path / "run", *probe, "--json")

    assert done.code == 0
    answer = json.loads(done.out)
    assert answer["schema_version"] == 1
    assert answer["run"] == str(tmp_path / "run")
    assert answer["strategy"] == answer["requested_strategy"] == "linear-probe"
    assert answer["classes"] == ["a", "b"]
    assert set(answer["test"]) >= {"n", "accuracy", "interval"}
    assert set(answer["seconds"]) >= {"features", "probes", "test", "total"}
    assert "error" not in done.err
    assert "--batch-size: no effect" in done.err


def test_recommend_from_the_table(run_cli) -> None:
    """Size and similarity by hand give the strategy, reasons, plan; trouble is called trouble."""
    done = run_cli("recommend", "--size", "small", "--similarity", "different", "--json")

    answer = json.loads(done.out)
    assert done.code == 0
    assert answer["strategy"] == "stage-probe"
    assert (answer["size"], answer["similarity"]) == ("small", "different")
    assert answer["reasons"]
    assert answer["plan"]["why"]
    assert "trouble" in answer["warning"]


def test_recommend_without_data_chooses_no_stages(run_cli) -> None:
    """Which stages a stage probe reads is for the data to say: the plan names none."""
    asked = ("recommend", "--size", "small", "--similarity", "different")

    people, machine = run_cli(*asked, "--verbose"), run_cli(*asked, "--json")

    plan = json.loads(machine.out)["plan"]
    assert plan["taps"] == []
    assert plan["why"]["taps"].startswith("chosen on the data: ")
    assert re.search(r"feature layers +– +chosen on the data", people.out)


@pytest.mark.parametrize(
    ("size", "similarity", "strategy"),
    [
        ("small", "similar", "linear-probe"),
        ("small", "different", "stage-probe"),
        ("large", "similar", "partial"),
        ("large", "different", "deep"),
    ],
)
def test_recommend_shows_the_table_to_people(
    run_cli, size: str, similarity: str, strategy: str
) -> None:
    """Each cell is shown with its strategy and what would flip it."""
    done = run_cli("recommend", "--size", size, "--similarity", similarity)

    assert done.code == 0
    assert strategy in done.out
    assert "What if:  the data were" in done.out
    assert ("trouble" in done.out) == (strategy == "stage-probe")


def test_quiet_leaves_the_answer_alone(run_cli, image_folder) -> None:
    """No progress on stderr, the same answer; and not together with its opposite."""
    root = image_folder({"a": 12, "b": 12})
    loud, quiet = run_cli("check", root), run_cli("check", root, "--quiet")

    assert "reading and checking" in loud.err
    assert quiet.err == ""
    assert quiet.out.splitlines()[1:] == loud.out.splitlines()[1:]  # the first has the seconds

    assert "passed" in run_cli("check", root, "--verbose").out
    assert "--verbose" not in sys.argv  # where the converter of networks would find it

    both = run_cli("check", root, "--quiet", "--verbose")
    assert (both.code, both.out) == (2, "")


@pytest.mark.parametrize(
    ("words", "completed"),
    [("finetune tr", "train"), ("finetune train --strategy d", "deep")],
)
def test_shells_complete_commands_and_values(words: str, completed: str) -> None:
    """As `finetune --install-completion` sets it up for bash."""
    script = "import sys; sys.argv = ['finetune']; from finetune.cli.process import run; run([])"
    place = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}

    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "_FINETUNE_COMPLETE": "complete_bash", **place},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == [completed]


@pytest.fixture(scope="module")
def advice() -> list[Advice]:
    return []


@pytest.fixture
def measured_once(monkeypatch: pytest.MonkeyPatch, advice: list[Advice]) -> None:
    """`recommend` measures a folder for the first test that asks; the others tell of it anew."""
    measure = recommend.run_recommendation

    def once(*arguments: object) -> Advice:
        if not advice:
            advice.append(measure(*arguments))
        return advice[0]

    monkeypatch.setattr(recommend, "run_recommendation", once)


@pytest.mark.usefixtures("measured_once")
def test_recommend_folder_json(run_cli, image_folder) -> None:
    """`recommend DIR --json` has the contract's keys and the measured evidence."""
    root = image_folder({"a": 12, "b": 12})

    done = run_cli("recommend", root, "--json")

    answer = json.loads(done.out)
    assert {"strategy", "size", "similarity", "reasons", "plan"} <= set(answer)
    assert {"policy", "rule", "table", "lead", "trials", "forecasts", "flips"} <= set(answer)
    assert {"profile", "stages", "counts", "findings", "seconds"} <= set(answer)
    assert answer["policy"] == "measured"
    assert answer["trials"] == []
    assert [f["strategy"] for f in answer["forecasts"]] == [
        *("linear-probe", "stage-probe", "partial", "deep")
    ]
    assert all(f["seconds"] > 0 and f["fits"] and f["text"] for f in answer["forecasts"])
    parts = {p["name"]: p for p in answer["profile"]["similarity"]["parts"]}
    assert set(parts) == {
        *("BatchNorm drift", "label agreement", "ImageNet confidence", "stage profile")
    }
    assert parts["BatchNorm drift"]["similar"] > parts["BatchNorm drift"]["different"]
    assert set(answer["profile"]["similarity"]["drift"]) == {"stem", "1", "2", "3", "4", "5"}
    assert {"images", "rarest_class", "curve", "limit"} <= set(answer["profile"]["size"])
    assert {"name", "accuracy", "standard_error", "log_loss"} <= set(answer["stages"][0])


@pytest.mark.usefixtures("measured_once")
def test_recommend_folder_shows_people_all_that_was_measured(run_cli, image_folder) -> None:
    """The answer comes first: strategy, accuracy, reason; and the training to start next.

    With --verbose the table with the place in it, the parts with thresholds, the stages and the
    forecasts follow.
    """
    root = image_folder({"a": 12, "b": 12})
    short = run_cli("recommend", root, "--max-per-class", "9")
    done = run_cli("recommend", root, "--verbose")

    assert short.code == done.code == 0
    assert re.match(r"[\w-]+: \d+\.\d% accuracy expected", short.out)
    assert short.out.splitlines()[1].startswith("Chosen:   ")
    assert short.out.splitlines()[-1] == f"Next:     finetune train {root} --max-per-class 9"
    assert "forecast" not in short.out
    assert done.out.splitlines()[0] == short.out.splitlines()[0]
    for title in ("linear classifiers by stage", "distance from ImageNet", "the classic table"):
        assert title in done.out
    assert "forecast from here to the test" in done.out
    assert "→ T" in done.out


def test_compare_trains_all_and_says_what_the_table_cost(
    run_cli, image_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four strategies and a blend on one split, differences to the table's choice, a sentence."""
    monkeypatch.setattr(recipe, "EPOCHS", {"fewest": 2, "most": 2, "scratch": 2})
    root = image_folder({"a": 14, "b": 14}, size=(32, 32))

    done = run_cli("compare", root, "--json", "--backbone", "test_resnet", "--weights", "random")

    answer = json.loads(done.out)
    rows = {c["strategy"]: c for c in answer["contenders"]}
    assert list(rows) == ["linear-probe", "stage-probe", "partial", "deep", "blend"]
    assert rows["blend"]["seconds"] > min(rows[name]["seconds"] for name in ("partial", "deep"))
    assert rows[answer["table"]]["difference"] == 0
    for row in rows.values():
        assert row["low"] <= row["difference"] <= row["high"]
        same = row["accuracy"] - rows[answer["table"]]["accuracy"]
        assert row["difference"] == pytest.approx(same)
        assert row["seconds"] > 0
    assert answer["verdict"].startswith(f"The classic table says {answer['table']}, best was ")
    assert rows[answer["best"]]["accuracy"] == max(r["accuracy"] for r in rows.values())


@pytest.mark.slow
def test_compare_starts_only_what_fits_the_budget(run_cli, image_folder) -> None:
    """The rest stands in the answer without figures and with the reason."""
    root = image_folder({"a": 14, "b": 14}, size=(32, 32))
    tiny = ("--backbone", "test_resnet", "--weights", "random", "--budget", "0.1s")

    done = run_cli("compare", root, "--json", *tiny)
    shown = run_cli("compare", root, *tiny)
    single = run_cli("compare", root, "--json", "--single", *tiny)

    rows = {c["strategy"]: c for c in json.loads(done.out)["contenders"]}
    for name in ("partial", "deep"):
        assert "0 s of the budget of" in rows[name].pop("untried")
        assert set(rows[name].values()) == {name, None}
        assert f"{name} has no figures: it takes about" in shown.out
    assert "a part of it, has no figures" in rows["blend"]["untried"]
    assert rows["linear-probe"]["accuracy"] is not None
    assert [c["strategy"] for c in json.loads(single.out)["contenders"]] == [*rows][:-1]
    assert json.loads(done.out)["best"] in ("linear-probe", "stage-probe")


def test_check_json_has_every_check(run_cli, image_folder) -> None:
    """`check --json` is one object: each check with its code, status, numbers and files."""
    root = image_folder({"a": 12, "b": 12})
    (root / "a" / "line\nbreak.png").write_bytes(b"")

    done = run_cli("check", root, "--json")

    answer = json.loads(done.out)
    assert done.code == 0
    assert {"data", "classes", "layout", "counts", "checks", "seconds"} <= set(answer)
    assert set(answer["checks"][0]) == {
        *("code", "title", "status", "text", "hint", "numbers", "paths", "details")
    }
    found = {c["code"]: c for c in answer["checks"]}
    assert found["FT120"]["paths"] == ["a/line\nbreak.png"]
    assert found["FT120"]["details"] == ["it is empty"]
    assert {"passed", "warning", "not-applicable"} <= {c["status"] for c in answer["checks"]}


def test_the_training_after_a_check_has_its_options(run_cli, image_folder) -> None:
    """What was checked is what would be trained on."""
    root = image_folder({"a": 6, "b": 6})

    done = run_cli("check", root, "--max-per-class", "5", "--verbose")

    assert done.out.splitlines()[-1] == f"Next:     finetune train {root} --max-per-class 5"


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ("finetune check x --labels --csv y.csv --group a", "finetune train x --group a"),
        ("finetune check x --label-studio=y.json --strict", "finetune train x --strict"),
        ("finetune compare 'a b' --json --budget 1h", "finetune train 'a b' --budget 1h"),
    ],
)
def test_a_training_gets_no_option_that_it_does_not_take(given: str, then: str) -> None:
    """What is another command's own is left out with its value."""
    assert after.as_training(given) == then


def test_check_shows_people_what_to_do(run_cli, image_folder) -> None:
    """The finding with its file on one line and what to do; passed checks are only counted."""
    root = image_folder({"a": 12, "b": 12})
    (root / "a" / "line\nbreak.png").write_bytes(b"")

    done = run_cli("check", root)

    assert done.code == 0
    assert r"a/line\nbreak.png (it is empty)" in done.out
    assert "Repair or remove them" in done.out
    assert re.search(
        r"^\d+ passed, \d+ not applicable; --verbose and --json list them", done.out, re.MULTILINE
    )
    assert "FT136" not in done.out


def test_every_command_has_a_short_help_that_is_not_cut(run_cli) -> None:
    """`finetune --help` at 80 columns says what each command does, to the full stop."""
    done = run_cli("--help")

    commands = done.out.partition("Commands:\n")[2].splitlines()
    assert len(commands) == 15
    assert all(len(line) <= 80 and line.endswith(".") and "..." not in line for line in commands)


def test_strict_turns_warnings_into_exit_code_3(run_cli, image_folder, tmp_path: Path) -> None:
    """`check --strict` shows all and ends with 3; `train --strict` stops before it loads torch."""
    root = image_folder({"a": 12, "b": 12})
    assert run_cli("check", root, "--strict").code == 0
    (root / "a" / "empty.png").write_bytes(b"")

    checked = run_cli("check", root, "--strict", "--json")
    trained = run_cli("train", root, "--strict", "--out", tmp_path / "run")

    assert checked.code == trained.code == 3
    assert json.loads(checked.out)["checks"]
    assert "FT120" in trained.err
    assert "finetune check" in trained.err
    assert "loading" not in trained.err
    assert not (tmp_path / "run").exists()


def test_a_leaking_set_is_flagged_by_training(run_cli, image_folder, tmp_path: Path) -> None:
    """Near duplicates in a ready-made test/ are in the answer, although test/ is opened last."""
    root = tmp_path / "ready"
    image_folder({"a": 12, "b": 12}, root=root / "train", size=(120, 100))
    image_folder({"a": 4, "b": 4}, root=root / "test", seed=1, size=(120, 100))
    with Image.open(root / "train" / "a" / "0000.png") as image:
        image.save(root / "test" / "a" / "leak.jpg", quality=90)
    tiny = ("--backbone", "test_resnet", "--weights", "random")

    done = run_cli("train", root, "--strategy", "linear-probe", "--out", tmp_path / "r", *tiny)

    assert done.code == 0
    text = (
        "FT115 warning  1 test image(s) are near duplicates of images trained on (test/a/leak.jpg)"
    )
    assert text in done.out


@pytest.mark.parametrize("budget", ["soon", "-5m", "0", "", "10 mints"])
def test_a_budget_that_is_no_time_is_refused(run_cli, budget: str) -> None:
    """Anything but a positive time is a usage fault with examples."""
    done = run_cli("train", SAMPLE, f"--budget={budget}")

    assert done.code == 2
    assert "--budget" in done.err


def test_recommend_needs_a_folder_or_both_axes(run_cli) -> None:
    """Half a question is a usage fault with an example to paste."""
    done = run_cli("recommend", "--size", "small")

    assert done.code == 2
    assert "finetune recommend DIR" in done.err


def test_predict_answers_all_but_the_bad_file(run_cli, run_folder: Path, tmp_path: Path) -> None:
    """One line per image; a bad file is an error record and exit code 3, the rest is answered."""
    shutil.copy(SAMPLE / "oak" / "000.jpg", tmp_path / "good one.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"")

    done = run_cli("predict", tmp_path, "--run", run_folder, "--top", 2, "--json")

    bad, good = (json.loads(line) for line in done.out.splitlines())
    assert done.code == 3
    assert set(bad) == {"path", "error"}
    assert str(tmp_path / "bad.jpg") in bad["error"]
    assert {"path", "label", "probability", "top"} <= set(good)
    assert len(good["top"]) == 2
    assert good["top"][0] == {"label": good["label"], "probability": good["probability"]}


def test_predict_leaves_no_picture_out_silently(
    run_cli, run_folder: Path, tmp_path: Path, closed_folder
) -> None:
    """A picture of a foreign kind and a closed folder are error records; a text is only counted."""
    shutil.copy(SAMPLE / "oak" / "000.jpg", tmp_path / "a.jpg")
    (tmp_path / "b.HEIC").write_bytes(b"x")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "closed").mkdir()
    closed_folder(tmp_path / "closed")

    done = run_cli("predict", tmp_path, "--run", run_folder, "--json")

    answers = {Path(a["path"]).name: a for a in map(json.loads, done.out.splitlines())}
    assert done.code == 3
    assert list(answers) == ["a.jpg", "b.HEIC", "closed"]
    assert "label" in answers["a.jpg"]
    assert "not read here; convert it" in answers["b.HEIC"]["error"]
    assert "cannot list folder" in answers["closed"]["error"]
    assert "1 file(s) that are not images left out" in done.err


def test_predict_answers_where_nothing_can_be_read(run_cli, run_folder: Path, tmp_path) -> None:
    """A folder of foreign pictures is one record for each, not a folder without images."""
    (tmp_path / "b.heic").write_bytes(b"x")

    done = run_cli("predict", tmp_path, "--run", run_folder, "--json")

    assert done.code == 3
    assert set(json.loads(done.out)) == {"path", "error"}


def test_a_foreign_picture_that_is_named_is_tried(run_cli, run_folder: Path, tmp_path) -> None:
    """`photos/*` names it itself: a JPEG behind such a suffix is answered, another is explained."""
    shutil.copy(SAMPLE / "oak" / "000.jpg", tmp_path / "a.heic")
    (tmp_path / "b.heic").write_bytes(b"x")

    named = (tmp_path / "a.heic", tmp_path / "b.heic")

    done = run_cli("predict", *named, "--run", run_folder, "--json")

    good, bad = map(json.loads, done.out.splitlines())
    assert done.code == 3
    assert "label" in good
    assert "; HEIC is a format that is not read here; convert it to JPEG" in bad["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_predict_answers_for_names_that_are_no_utf8(
    run_cli, run_folder: Path, tmp_path: Path
) -> None:
    """Names with stray bytes are spelt out, in JSON and in a table alike."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    shutil.copy(SAMPLE / "oak" / "000.jpg", folder)
    (folder / "bad.jpg").write_bytes(b"")
    file = tmp_path / "out.csv"

    done = run_cli("predict", folder, "--run", run_folder, "--json", "--csv", file)

    good, bad = (json.loads(line) for line in done.out.splitlines())
    assert done.code == 3
    assert good["path"].endswith(r"caf\udce9/000.jpg")
    assert r"caf\udce9/bad.jpg" in bad["error"]
    assert len(list(csv.DictReader(file.read_text().splitlines()))) == 2


def test_predict_uses_the_newest_run(
    run_cli, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --run the newest run in ./runs answers."""
    shutil.copytree(run_folder, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)

    done = run_cli("predict", SAMPLE / "oak" / "000.jpg")

    assert done.code == 0
    assert "000.jpg" in done.out
    assert "runs/mine" in done.err


def test_predict_writes_csv(run_cli, run_folder: Path, tmp_path: Path) -> None:
    """--csv writes one row per image with a header."""
    file = tmp_path / "out.csv"

    done = run_cli("predict", SAMPLE / "oak", "--run", run_folder, "--csv", file)

    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert done.code == 0
    assert len(rows) == len(list((SAMPLE / "oak").iterdir()))
    assert set(rows[0]) == {"path", "label", "probability", "error", "standing", "set"}


def test_predict_lists_as_many_classes_in_a_csv_as_asked(
    run_cli, run_folder: Path, tmp_path: Path
) -> None:
    """--top N gives N classes a row, the further ones in columns behind those of every CSV."""
    shutil.copy(SAMPLE / "oak" / "000.jpg", tmp_path)
    (tmp_path / "bad.jpg").write_bytes(b"")
    file = tmp_path / "out.csv"

    done = run_cli("predict", tmp_path, "--run", run_folder, "--csv", file, "--top", 2, "--json")

    head, good, bad = csv.reader(file.read_text().splitlines())
    answer = next(a for a in map(json.loads, done.out.splitlines()) if "top" in a)
    assert head == [
        *("path", "label", "probability", "error", "label_2", "probability_2"),
        *("standing", "set"),
    ]
    assert [good[1], good[4]] == [c["label"] for c in answer["top"]]
    assert float(good[5]) == answer["top"][1]["probability"]
    assert bad[1:3] + bad[4:] == [""] * 6


@pytest.mark.parametrize("name", ["a.jpg", "b.PNG", "c.heic", "notes"])
def test_an_image_is_not_overwritten_by_a_csv(run_cli, tmp_path: Path, name: str) -> None:
    """`--csv photos/*` without a file's name ends before anything is read, and every file stays."""
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "link").symlink_to(name)

    done = run_cli("predict", "--csv", tmp_path / name, tmp_path / "link", "--run", "/no/run")

    assert done.code == 2
    assert str(tmp_path / name) in done.err
    assert (tmp_path / name).read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["nowhere/out.csv", ".", "locked.csv", "closed/out.csv"])
def test_a_csv_that_cannot_be_written_is_told_first(
    run_cli, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is not there, a folder, or no right to write: told before the run is read."""
    (tmp_path / "locked.csv").touch()
    (tmp_path / "closed").mkdir()
    refused = {tmp_path / "locked.csv", tmp_path / "closed"}
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) not in refused)

    done = run_cli("predict", "a.jpg", "--csv", tmp_path / name, "--run", "/no/run")

    assert done.code == 2
    assert f"cannot write --csv {tmp_path / name}" in done.err


@pytest.mark.parametrize("word", ["\udcff", "--\udcff"])
def test_stray_bytes_on_the_command_line_are_spelt_out(run_cli, word: str) -> None:
    """A word that is no UTF-8 is told in the fault, whatever stderr can write (by fuzzing)."""
    done = run_cli("train", "missing", word)

    assert done.code == 2
    assert r"\udcff" in done.err


@pytest.mark.parametrize("command", ["train", "recommend", "check", "compare"])
def test_a_link_that_leads_to_itself_is_no_folder(run_cli, tmp_path: Path, command: str) -> None:
    """A loop of links is told as what it is, not as a bug (by fuzzing)."""
    (tmp_path / "loop").symlink_to("loop")

    done = run_cli(command, tmp_path / "loop")

    assert done.code == 3
    assert f"no folder at {tmp_path / 'loop'}" in done.err


def test_a_run_cannot_be_put_where_a_link_leads_to_itself(
    run_cli, image_folder, tmp_path: Path
) -> None:
    """The same for --out: a fault that names the place."""
    root = image_folder({"a": 8, "b": 8})
    (tmp_path / "loop").symlink_to("loop")

    done = run_cli("train", root, "--strategy", "linear-probe", "--out", tmp_path / "loop" / "run")

    assert done.code == 3
    assert "loop" in done.err


def test_predict_without_any_run_says_how_to_make_one(
    run_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run is a fault the user can mend."""
    monkeypatch.chdir(tmp_path)

    done = run_cli("predict", SAMPLE / "oak" / "000.jpg")

    assert done.code == 3
    assert "finetune train DIR" in done.err


@pytest.fixture
def few_leaves(tmp_path: Path) -> Path:
    """Two pictures of each kind of leaf: too few to be worth a conversion of the network."""
    for kind in SAMPLE.iterdir():
        (tmp_path / "few" / kind.name).mkdir(parents=True)
        for number in ("000.jpg", "001.jpg"):
            shutil.copy(kind / number, tmp_path / "few" / kind.name)
    return tmp_path / "few"


def test_evaluate_reports_everything_and_warns_of_seen_images(
    run_cli, run_folder: Path, few_leaves: Path
) -> None:
    """Evaluate gives all metrics, and says which images the run was trained on."""
    done = run_cli("evaluate", few_leaves, "--run", run_folder, "--json")

    answer = json.loads(done.out)
    assert done.code == 0
    assert {
        *("n", "accuracy", "interval", "balanced_accuracy", "macro_f1", "per_class", "confusion"),
        *("log_loss", "calibration_error", "majority_baseline"),
    } <= set(answer["metrics"])
    found = {f["code"]: f for f in answer["findings"]}
    assert "--unseen" in found["FT112"]["hint"]


def test_evaluate_unseen_gives_the_runs_own_test_figure(run_cli, leaves_run) -> None:
    """Leaving out what the run learnt from leaves its test images, and the same accuracy."""
    result, folder = leaves_run

    done = run_cli("evaluate", SAMPLE, "--run", folder, "--unseen", "--json")

    answer = json.loads(done.out)
    assert answer["metrics"]["n"] == result.test.n
    assert answer["metrics"]["accuracy"] == pytest.approx(result.test.accuracy)
    assert answer["findings"] == []


def test_evaluate_refuses_unknown_classes(run_cli, run_folder: Path, image_folder) -> None:
    """Classes the run does not know are named, with those it knows."""
    root = image_folder({"cactus": 3, "oak": 3})

    done = run_cli("evaluate", root, "--run", run_folder)

    assert done.code == 3
    assert "cactus" in done.err
    assert "ginkgo" in done.err


def test_evaluate_shows_people_a_table(run_cli, run_folder: Path, few_leaves: Path) -> None:
    """The readable answer has each class and the interval."""
    done = run_cli("evaluate", few_leaves, "--run", run_folder)

    assert done.code == 0
    assert "ginkgo" in done.out
    assert "95 % interval" in done.out


def test_runs_lists_strategy_accuracy_date(run_cli, leaves_run) -> None:
    """Runs shows what was trained, how good it is and when it was made."""
    result, folder = leaves_run

    people = run_cli("runs", folder.parent)
    machine = run_cli("runs", folder.parent, "--json")

    row = json.loads(machine.out)[0]
    assert row["strategy"] == result.strategy
    assert datetime.fromisoformat(row["created"]).astimezone().strftime("%F %R") in people.out
    assert f"{row['accuracy']:.1%}" in people.out


def test_backbones_lists_the_default_as_ready(run_cli) -> None:
    """The default backbone's weights are here, with licence, stages, size."""
    done = run_cli("backbones", "--json")

    row = json.loads(done.out)[0]
    assert row["name"] == "tf_efficientnet_lite0"
    assert row["ready"]
    assert row["licence"] == "Apache-2.0"
    assert row["side_px"] == 224
    assert row["stages"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train", "/nowhere"], 3, "/nowhere"),
        (["train"], 2, "no folder of images"),
        (["train", "--from-run", "/no/run"], 3, "/no/run"),
        (["train", "{leaves}", "--strategy", "magic"], 2, "magic"),
        (["train", "{leaves}", "--val-fraction", "2"], 2, "--val-fraction is 2"),
        (["train", "{leaves}", "--lr", "-1", "--strategy", "deep"], 2, "--lr is -1"),
        (["train", "{leaves}", "--optimizer", "magic", "--strategy", "deep"], 2, "magic"),
        (["train", "{leaves}", "--device", "warp"], 3, "warp"),
        (["train", "{leaves}", "--backbone", "no_such_net"], 3, "no_such_net"),
        (["train", "{leaves}", "--weights", "/no/file.pth"], 3, "/no/file.pth"),
        (["train", "{leaves}", "--max-per-class", "1"], 2, "--max-per-class is 1"),
        (["check", "/nowhere"], 3, "/nowhere"),
        (["check", "{leaves}", "--group", "("], 2, "--group '('"),
        (["check", "{leaves}", "--group", "zebra"], 2, "--group 'zebra'"),
        (["train", "{leaves}", "--group", "["], 2, "--group '['"),
        (["check", "{leaves}", "--near-duplicates", "maybe"], 2, "maybe"),
        (["check", "{leaves}", "--test-fraction", "2"], 2, "--test-fraction is 2"),
        (["predict", "/no/image.jpg", "--run", "/no/run"], 3, "/no/run"),
        (["evaluate", "/nowhere", "--run", "/no/run"], 3, "/no/run"),
    ],
)
def test_faults_name_the_value_and_one_thing_to_try(
    run_cli, arguments: list[str], code: int, says: str, tmp_path: Path, monkeypatch
) -> None:
    """Each fault has its exit code, names the value, and leaves no run and no traceback."""
    monkeypatch.chdir(tmp_path)

    done = run_cli(*[a.format(leaves=SAMPLE) for a in arguments])

    assert done.code == code
    assert says in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert list(tmp_path.iterdir()) == []


def test_interrupting_ends_with_130(run_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no bug: exit code 130, no traceback."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run_training", interrupt)

    done = run_cli("train", SAMPLE)

    assert done.code == 130
    assert "Traceback" not in done.err


def test_a_lack_of_memory_is_a_fault(run_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory ends outside a step it is no bug: exit code 3 and something to try."""

    def fail(*_: object) -> None:
        raise MemoryError("Unable to allocate 9.9 GiB for an array")

    monkeypatch.setattr(train, "run_training", fail)

    done = run_cli("train", SAMPLE)

    assert done.code == 3
    assert "9.9 GiB" in done.err
    assert "--max-per-class" in done.err
    assert "Traceback" not in done.err


@contextlib.contextmanager
def training(out: Path, *options: str, until: str = "epoch   2") -> Iterator[subprocess.Popen[str]]:
    """A process that trains for long, once a line of its progress has appeared."""
    small = ("--strategy", "scratch", "--backbone", "test_resnet", "--max-per-class", "8")
    command = [sys.executable, "-m", "finetune", "train", str(SAMPLE), *small, "--out", str(out)]
    options = ("--epochs", "500", "--image-size", "64", "--verbose", *options)
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if until in line:
                    break
            yield process
        finally:
            process.kill()


# in a process of its own: sent to that of the tests, once it has loaded all that they need, SIGTERM
# ended it on the spot (docs/log.md, 2026-11-26)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_soon_with_the_best_kept(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, or what `kill` sends: exit code 130 within seconds, and the run folder is whole."""
    with training(tmp_path / "run") as process:
        began = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began

    assert process.returncode == 130
    assert took < 10  # half a second on a machine of one's own
    assert "error: interrupted: kept is scratch" in err
    assert load(tmp_path / "run").facts.strategy == "scratch"
    assert (tmp_path / "run.partial").is_dir()


@pytest.mark.slow
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Whoever cannot wait for the saving does not: the process is gone, and --resume goes on."""
    with training(tmp_path / "run") as process:
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            process.send_signal(signal.SIGINT)

    assert process.returncode == -signal.SIGINT
    assert not (tmp_path / "run").exists()
    assert list((tmp_path / "run.partial").glob("*.safetensors"))


def test_signals_that_are_ignored_stay_so(tmp_path: Path, monkeypatch, run_cli) -> None:
    """Under `nohup` and the like nothing is caught, and handlers are put back afterwards."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    seen = []

    def look(*_: object) -> None:
        seen.append([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)])
        raise KeyboardInterrupt

    try:
        monkeypatch.setattr(train, "run_training", look)
        interrupt = signal.getsignal(signal.SIGINT)
        run_cli("train", SAMPLE)
        assert seen[0][0] != interrupt
        assert seen[0][1] == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == interrupt
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_repetition_takes_other_options(run_cli, image_folder, tmp_path: Path) -> None:
    """What is given beside --from-run counts, be it a default; the rest is the run's."""
    root = image_folder({"a": 8, "b": 8})
    tiny = ("--backbone", "test_resnet", "--weights", "random")
    probe = ("--strategy", "linear-probe", "--test-fraction", "0.3", "--seed", "3")
    assert run_cli("train", root, *tiny, *probe, "--out", tmp_path / "one").code == 0

    done = run_cli(
        *("train", "--from-run", tmp_path / "one", "--seed", 0, "--epochs", 4),
        *("--budget", "1h30", "--out", tmp_path / "two"),
    )

    assert done.code == 0
    assert "--seed was 3 and is 0" in done.err
    assert "bit for bit" not in done.err
    asked = load_facts(tmp_path / "two").request
    assert asked is not None
    assert (asked.seed, asked.budget_s, asked.options) == (0, 5400, {"epochs": 4})
    assert (asked.test_fraction, asked.backbone) == (0.3, "test_resnet")


def test_resuming_a_finished_run_says_so_and_how_to_go_on(
    run_cli, image_folder, tmp_path: Path
) -> None:
    """The same request is done; another is refused with a command that works as it stands."""
    root, out = image_folder({"a": 8, "b": 8}), tmp_path / "one"
    probe = ("--strategy", "linear-probe", "--backbone", "test_resnet", "--weights", "random")
    assert run_cli("train", root, *probe, "--out", out).code == 0

    same = run_cli("train", root, *probe, "--out", out, "--resume")
    more = run_cli("train", root, *probe, "--out", out, "--resume", "--epochs", 4)

    assert (same.code, more.code) == (0, 3)
    assert f"{out} is finished (linear-probe, " in same.err
    assert "--epochs was by rule and is 4" in more.err
    command = more.err.partition("from the start: ")[2].strip()
    assert command == f"finetune train --from-run {out} --epochs 4 --out {out}-2"
    assert run_cli(*shlex.split(command)[1:]).code == 0
    assert load(tmp_path / "one-2")


def test_a_repetition_says_whether_it_is_the_same(run_cli, image_folder, tmp_path: Path) -> None:
    """The options come from the run; the folder of images may have moved."""
    root = image_folder({"a": 8, "b": 8})
    probe = ("--strategy", "linear-probe", "--test-fraction", "0.3")
    assert run_cli("train", root, *probe, "--out", tmp_path / "one").code == 0
    shutil.move(root, tmp_path / "moved")

    gone = run_cli("train", "--from-run", tmp_path / "one", "--out", tmp_path / "two")
    done = run_cli(
        *("train", tmp_path / "moved", "--from-run", tmp_path / "one"),
        *("--out", tmp_path / "two"),
    )

    assert gone.code == 3
    assert str(root) in gone.err
    assert done.code == 0
    assert "the same model, bit for bit" in done.err
    facts = load_facts(tmp_path / "two")
    assert facts.request is not None
    assert facts.request.test_fraction == 0.3
    assert facts.data_root == str(tmp_path / "moved")


def test_labels_in_file_names_are_repeated_and_measured(
    run_cli, image_folder, tmp_path: Path
) -> None:
    """--label-from is suggested, trains a flat folder, is kept with the run, and measures."""
    root, flat = image_folder({"cat": 8, "dog": 8}), tmp_path / "flat"
    flat.mkdir()
    for file in root.glob("*/*.png"):
        shutil.copy(file, flat / f"{file.parent.name}.{file.name}")
    asked = ("--label-from", r"^([a-z]+)\.")

    refused = run_cli("train", flat)
    done = run_cli(
        *("train", flat, "--strategy", "linear-probe", *asked, "--out", tmp_path / "one")
    )
    again = run_cli("train", "--from-run", tmp_path / "one", "--out", tmp_path / "two")
    measured = run_cli("evaluate", flat, *asked, "--run", tmp_path / "two", "--json")

    assert refused.code == 3
    assert r"--label-from '^([a-z]+)\.'" in refused.err
    assert (done.code, again.code, measured.code) == (0, 0, 0)
    assert "the same model, bit for bit" in again.err
    facts = load_facts(tmp_path / "two")
    assert (facts.classes, facts.request and facts.request.label_from) == (("cat", "dog"), asked[1])
    assert json.loads(measured.out)["metrics"]["n"] == 16


def test_a_bug_is_told_with_its_traceback(run_cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own faults exit with 1 and ask for a report."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(train, "run_training", fail)

    done = run_cli("train", SAMPLE)

    assert done.code == 1
    assert "ZeroDivisionError" in done.err
    assert "report it" in done.err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(5, "Input/output error", "/a/file"), "cannot use /a/file: Input/output error"),
        (PermissionError(13, "Permission denied", b"/a/\xe9"), r"cannot use /a/\udce9"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
    ids=str,
)
def test_what_the_system_refuses_is_a_fault(
    run_cli, monkeypatch, error: OSError, says: str
) -> None:
    """Wherever it comes from: exit code 3, what and why in one line, and something to try."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(train, "run_training", fail)

    done = run_cli("train", SAMPLE)

    assert done.code == 3
    assert says in done.err
    assert "try:" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", [["check"], ["recommend"], ["train"], ["evaluate", "--run"]])
def test_a_name_too_long_is_a_fault(
    run_cli, tmp_path: Path, monkeypatch, run_folder: Path, command: list[str]
) -> None:
    """The folder is named with the reason, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    options = [run_folder] if "--run" in command else []

    done = run_cli(*command, *options, "x" * 300)

    assert done.code == 3
    assert "File name too long" in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_may_not_be_looked_at_is_an_answer(run_cli, run_folder: Path) -> None:
    """`predict` tells of a name too long as of any file that cannot be read."""
    done = run_cli("predict", "x" * 300, SAMPLE / "oak" / "000.jpg", "--run", run_folder, "--json")

    bad, good = map(json.loads, done.out.splitlines())
    assert done.code == 3
    assert "File name too long" in bad["error"]
    assert good["label"]


@pytest.mark.parametrize("seed", [-1, 2**63, 10**22])
def test_a_seed_that_no_generator_takes_is_refused(run_cli, seed: int) -> None:
    """On the command line, before anything is read."""
    done = run_cli("check", "/nowhere", "--seed", seed)

    assert done.code == 2
    assert "--seed" in done.err


def program(*arguments: object, streams: str = "", **variables: str) -> subprocess.CompletedProcess:
    """The program as a process of its own, its streams redirected as a shell does."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-m", "finetune"]
        + [str(a) for a in arguments],
        env={**os.environ, **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full device")
@pytest.mark.parametrize("command", ["cache", "cache --json", "--version", "--help", "runs {}"])
def test_an_answer_that_cannot_be_written_is_a_fault(command: str) -> None:
    """A full disk under stdout is told once, with exit code 3."""
    released = Path(__file__).parents[1] / "runs" / "released" / "0.1.0"

    done = program(*(word.format(released) for word in command.split()), streams=f">{FULL}")

    assert done.returncode == 3
    assert done.stderr.count(b"No space left on device") == 1
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full device")
def test_a_fault_that_cannot_be_written_keeps_its_exit_code() -> None:
    """With a full disk under stderr the exit code tells all the same."""
    done = program("predict", "x.png", "--run", "/no/run", streams=f"2>{FULL}")

    assert (done.returncode, done.stdout) == (3, b"")


@pytest.mark.parametrize(
    ("streams", "out", "err"),
    [
        (">&-", False, True),
        ("2>&-", True, False),
        (">&- 2>&-", False, False),
        ("<&- >&- 2>&-", False, False),
    ],
)
def test_closed_streams_are_no_fault(streams: str, out: bool, err: bool) -> None:
    """What has nowhere to go is dropped; exit codes stay, and other streams get their part."""
    cache, missing = (program(*c, streams=streams) for c in (["cache"], ["check", "/nowhere"]))

    assert (cache.returncode, missing.returncode) == (0, 3)
    assert (b"FINETUNE_CACHE" in cache.stdout) == out
    assert (b"/nowhere" in missing.stderr) == err


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library prints does not land in a file that is opened later."""
    script = (
        "import os, sys; from finetune.__main__ import open_streams; open_streams();"
        "os._exit(open(sys.argv[1], 'w').fileno())"
    )

    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script, tmp_path / "f"],
        check=False,
    )

    assert done.returncode == 3


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1251", "utf-8"])
def test_json_is_the_same_in_any_encoding(image_folder, encoding: str) -> None:
    """Class names that stdout's encoding lacks are escaped, and read back as they were."""
    names = ["é", "ромашка", "\U0001f33c"]
    root = image_folder(dict.fromkeys(names, 3))

    shown = program("check", root, PYTHONIOENCODING=encoding)
    done = program("check", root, "--json", PYTHONIOENCODING=encoding)

    assert (shown.returncode, done.returncode) == (0, 0)
    assert json.loads(done.stdout.decode(encoding))["classes"] == names


def test_module_runs_like_the_script() -> None:
    """`python -m finetune --version` answers."""
    done = subprocess.run(
        [sys.executable, "-m", "finetune", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "0.1.0"


def test_full_collections_are_rare_in_the_program() -> None:
    """Importing torch does not set off a look at every object that there is, again and again."""
    full = "gc.get_stats()[2]['collections']"
    script = "import gc, os; from finetune.__main__ import main; os._exit = str; main(); "
    script += f"before = {full}; import torch; print(before, {full})"

    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True
    )

    before, after = done.stdout.split()[-2:]
    assert before == after


@pytest.mark.parametrize(("own", "expected"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_waiting_threads_spin_briefly(own: dict[str, str], expected: str) -> None:
    """The program shares its cores, unless the user has said how threads are to wait."""
    script = "import os; from finetune.__main__ import main; os._exit = str; main();"
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    env = {k: v for k, v in os.environ.items() if k not in names} | own

    done = subprocess.run(
        [sys.executable, "-c", f"{script}print(os.environ['GOMP_SPINCOUNT'])", "--version"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split()[-1] == expected


# --- which answers were wrong ---------------------------------------------------------------------


@pytest.fixture
def strayed_leaves(tmp_path: Path, few_leaves: Path) -> Path:
    """A folder of leaves in which one picture lies under another class."""
    root = tmp_path / "strayed"
    shutil.copytree(few_leaves, root)
    first, second = sorted(p for p in root.iterdir() if p.is_dir())[:2]
    sorted(first.iterdir())[0].rename(second / "strayed.png")
    return root


def test_evaluate_names_the_wrong_answers(
    run_cli, run_folder: Path, strayed_leaves: Path, tmp_path: Path
) -> None:
    """On the screen, in JSON and in the file: the picture, its folder, the answer, how sure."""
    command = ("evaluate", strayed_leaves, "--run", run_folder, "--errors", tmp_path / "e.csv")

    shown = run_cli(*command, "--verbose")
    told = json.loads(run_cli(*command, "--json").out)

    assert (shown.code, told["better_than_commonest"]) == (0, True)
    errors = told["errors"]
    (strayed,) = [e for e in errors if e["path"].endswith("/strayed.png")]
    assert strayed["path"] == f"{strayed['truth']}/strayed.png"
    assert strayed["answer"] != strayed["truth"]
    metrics = told["metrics"]
    assert len(errors) == round(metrics["n"] * (1 - metrics["accuracy"]))
    assert [e["probability"] for e in errors] == sorted(
        (e["probability"] for e in errors), reverse=True
    )
    with (tmp_path / "e.csv").open(newline="") as file:
        rows = [{**row, "probability": float(row["probability"])} for row in csv.DictReader(file)]
    assert rows == errors
    assert errors[0]["path"] in shown.out
    assert re.search(r"^Mistakes: '\w+' taken for '\w+' most often", shown.out, re.MULTILINE)
    assert "strayed.png" in shown.out


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize("name", ["nowhere/e.csv", "images/e.csv", "images/a/0000.png"])
def test_a_file_for_errors_is_refused_before_the_work(
    run_cli, image_folder, tmp_path: Path, command: str, name: str
) -> None:
    """No folder, among the images, or an image itself: exit 2 before anything is read."""
    image_folder(root=tmp_path / "images")
    before = sorted(tmp_path.rglob("*"))
    where = ("--out" if command == "train" else "--run", tmp_path / "run")

    done = run_cli(command, tmp_path / "images", *where, "--errors", tmp_path / name)

    assert done.code == 2
    assert f"--errors {tmp_path / name}" in done.err
    assert sorted(tmp_path.rglob("*")) == before


def noise_folder(root: Path, counts: dict[str, int]) -> Path:
    """Pictures of noise, alike in every class."""
    rng = np.random.default_rng(3)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def test_no_better_than_the_commonest_class_is_said_everywhere(run_cli, tmp_path: Path) -> None:
    """Screen, JSON, report; with --strict exit 3 and the run kept; the wrong answers listed."""
    data = noise_folder(tmp_path / "noise", {"ash": 20, "bay": 20})
    out, listed = tmp_path / "run", tmp_path / "wrong.csv"
    options = ("--strategy", "linear-probe", "--near-duplicates", "ignore", "--errors", listed)

    shown = run_cli("train", data, "--out", out, "--strict", *options)
    told = json.loads(run_cli("evaluate", data, "--run", out, "--json").out)

    assert shown.code == 3
    assert "FT210" in shown.out
    assert "FT210" in shown.err
    assert "The run is kept" in shown.err
    result = load_result(out)
    assert result.better_than_commonest is False
    assert result.test is not None
    assert len(result.errors) == round(result.test.n * (1 - result.test.accuracy)) > 0
    assert "always answering" in (out / "report.html").read_text("utf-8")
    assert result.errors[0].path in (out / "report.html").read_text("utf-8")
    rows = list(csv.reader(listed.read_text().splitlines()))
    assert [row[0] for row in rows] == ["path", *(e.path for e in result.errors)]
    assert isinstance(told["better_than_commonest"], bool)
    assert told["verdict"]


def test_most_pictures_blank_are_not_tuned_on(run_cli, tmp_path: Path) -> None:
    """`auto` takes the probe at once and says why; --strict stops before anything is learnt."""
    data = noise_folder(tmp_path / "blank", {"ash": 3, "bay": 3})
    for i in range(18):
        Image.new("RGB", (24, 24), (i, 3 * i, 200)).save(data / "ash" / f"blank{i}.png")
        Image.new("RGB", (24, 24), (5 * i, i, 90)).save(data / "bay" / f"blank{i}.png")

    done = run_cli("train", data, "--out", tmp_path / "run")
    strict = run_cli("train", data, "--out", tmp_path / "strict", "--strict")

    assert done.code == 0
    assert "36 of 42 images show one color" in done.out
    assert "leaves nothing to tune on" in done.out
    advice = load_result(tmp_path / "run").recommendation
    assert (advice.policy, advice.trials, advice.forecasts) == ("measured", (), ())
    assert strict.code == 3
    assert "FT125" in strict.err
    assert not (tmp_path / "strict").exists()


def test_without_a_test_no_wrong_answer_is_listed_and_that_is_said(
    run_cli, image_folder, tmp_path: Path
) -> None:
    """`--errors` with `--test-fraction 0` writes the head alone and tells why."""
    options = ("--strategy", "linear-probe", "--test-fraction", "0", "--out", tmp_path / "run")

    done = run_cli("train", image_folder(), *options, "--errors", tmp_path / "e.csv")

    assert done.code == 0
    assert (tmp_path / "e.csv").read_text().split() == ["path,truth,answer,probability"]
    assert "no test images" in done.err
