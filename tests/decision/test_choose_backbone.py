"""Promises of `decision.choose_backbone`: by evidence and time, each left out with its reason.

The small networks here have random weights, handed in as files for tests only: they are nobody's
pretrained networks, and are called files in what is told of them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SAMPLE, Recorder, changed, options_for
from safetensors.torch import save_file

from finetune.analysis import analyze, look
from finetune.analysis.clock import Clock
from finetune.backbones import fetching, networks, registry
from finetune.decision import backbone_race, candidates, choose_backbone
from finetune.decision.backbone_race import Racer
from finetune.decision.candidates import Source
from finetune.heads.cross_validation import LeftOut
from finetune.records import durations
from finetune.records.analysis import StageScore
from finetune.records.backbone_choice import AUTO, BackboneChoice
from finetune.records.errors import BackboneError, UsageError
from finetune.records.options import BackboneOptions, Options, Request
from finetune.runs import resume, run_folder
from finetune.workflows import begin
from finetune.workflows.train import repetition

Lay = Callable[..., Source]


@pytest.fixture(scope="session")
def test_only(tmp_path_factory: pytest.TempPathFactory) -> Lay:
    """`test_only(name)` is a small network with random weights from a file, for tests."""
    home, made = tmp_path_factory.mktemp("random"), {}

    def lay(name: str, **changes: object) -> Source:
        if name not in made:
            torch.manual_seed(3)
            net = networks.create(name)
            made[name] = home / f"{name}-random.safetensors"
            save_file({n: t.clone() for n, t in net.state_dict().items()}, made[name])
        return dataclasses.replace(
            Source(name=name, licence="test only", weights=str(made[name]), permissive=True),
            **changes,
        )

    return lay


def choose(
    root: Path, sources: list[Source], listener: Recorder | None = None, **asked: object
) -> BackboneChoice:
    """The choice for a folder among some networks."""
    options = options_for(root=str(root), backbone=AUTO, **asked)
    listener = listener or Recorder()
    clock = Clock(listener)
    seen = look.look(options, listener, clock, kept=False)
    return choose_backbone.choose(seen, options, listener, clock, sources)


# --- the whole choice -----------------------------------------------------------------------------


def test_every_network_is_told_with_its_figures_and_reason(image_folder, test_only: Lay) -> None:
    """One is chosen; each was timed and judged on the same images, and says why in or out."""
    names = ("test_resnet", "test_efficientnet")
    listener = Recorder()

    found = choose(image_folder(), [test_only(n) for n in names], listener)

    rows = found.candidates
    assert {c.name for c in rows} == set(names)
    assert [c.standing for c in rows].count("chosen") == 1
    assert rows[0].standing == "chosen"
    assert rows[0].name == found.name
    assert {c.images for c in rows} == {16}  # of 20 images 4 are test
    for c in rows:
        assert c.why
        assert c.parameters
        assert c.side_px
        assert c.latency_ms is not None
        assert c.latency_ms > 0
        assert c.image_ms is not None
        assert c.image_ms > 0
        assert c.accuracy is not None
        assert c.log_loss is not None
        assert c.behind is not None
        assert c.noise is not None
    assert min(c.behind for c in rows if c.behind is not None) == 0
    assert found.name in found.reason
    assert found.reason in listener.notes
    assert found.seconds > 0


def test_features_of_the_choice_are_those_of_the_training(image_folder, test_only: Lay) -> None:
    """The network that is taken computes nothing twice: its features are known by then."""
    root = image_folder()
    options = options_for(root=str(root), backbone=AUTO)
    listener = Recorder()
    clock = Clock(listener)
    seen = look.look(options, listener, clock, kept=False)
    sources = [test_only("test_resnet"), test_only("test_efficientnet")]
    found = choose_backbone.choose(seen, options, listener, clock, sources)

    analysis = analyze.analyze(options, listener, clock, seen=seen, choice=found)

    assert analysis.facts.name == found.name
    assert analysis.facts.weights.startswith("file ")
    assert analysis.table.fresh == 0
    assert analysis.choice == found
    assert analysis.options.backbone.name == AUTO
    assert clock.seconds["choice"] > 0


def test_no_image_of_the_test_is_opened(image_folder, test_only: Lay, monkeypatch) -> None:
    """A network is chosen by images that are not test."""
    opened: set[str] = set()
    extract = backbone_race.features.extract

    def watched(paths, *rest):
        opened.update(map(str, paths))
        return extract(paths, *rest)

    monkeypatch.setattr(backbone_race.features, "extract", watched)
    root = image_folder()
    options = options_for(root=str(root), backbone=AUTO)
    seen = look.look(options, Recorder(), Clock(Recorder()), kept=False)

    choose(root, [test_only("test_resnet"), test_only("test_efficientnet")])

    assert opened == {str(root / s.path) for s in seen.fitting}


def test_a_license_that_does_not_allow_every_use_is_opt_in(image_folder, test_only: Lay) -> None:
    """Such a network is shown and left out, unless any license is asked for."""
    sources = [
        test_only("test_resnet"),
        test_only("test_efficientnet", licence="cc-by-nc-4.0", permissive=False),
    ]
    root = image_folder()

    strict = choose(root, sources)
    free = choose(root, sources, licence="any")

    left = strict.candidates[-1]
    assert strict.name == "test_resnet"
    assert "of 2 the only one that is not out" in strict.reason
    assert (left.standing, left.images, left.permissive) == ("out", 0, False)
    assert "cc-by-nc-4.0" in left.why
    assert "--licence any" in left.why
    assert {c.standing for c in free.candidates} & {"out"} == set()


def test_a_network_slower_than_the_limit_is_out(image_folder, test_only: Lay, monkeypatch) -> None:
    """--max-latency holds for one image alone, and the reason names both figures."""
    times = iter([(0.005, 0.004), (0.030, 0.002)])
    monkeypatch.setattr(backbone_race, "timed", lambda _: next(times))
    sources = [test_only("test_resnet"), test_only("test_efficientnet")]

    found = choose(image_folder(), sources, max_latency_s=0.02)

    assert found.name == "test_resnet"
    left = found.candidates[-1]
    assert (left.standing, left.latency_ms) == ("out", 30.0)
    assert left.why == "30.0 ms for one image; --max-latency is 20 ms"


def test_where_none_is_left_each_reason_is_told(image_folder, test_only: Lay) -> None:
    """A limit that nothing keeps is a fault with every network's figure, and a way out."""
    sources = [test_only("test_resnet"), test_only("test_efficientnet")]

    with pytest.raises(BackboneError) as caught:
        choose(image_folder(), sources, max_latency_s=1e-6)

    assert "test_resnet: " in caught.value.message
    assert "test_efficientnet: " in caught.value.message
    assert "--max-latency" in caught.value.hint


def test_weights_that_cannot_be_read_are_told_and_passed_over(
    image_folder, test_only: Lay, tmp_path: Path
) -> None:
    """A damaged file costs its network the race, not the user the choice."""
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no tensors")
    sources = [test_only("test_resnet"), test_only("test_efficientnet", weights=str(damaged))]

    found = choose(image_folder(), sources)

    assert found.name == "test_resnet"
    assert "damaged.safetensors" in found.candidates[-1].why


def test_choosing_keeps_to_its_share_of_the_budget(
    image_folder, test_only: Lay, monkeypatch
) -> None:
    """Once a fifth of the budget is spent no further network is loaded."""
    monkeypatch.setattr(backbone_race.Race, "spent", property(lambda _: 21.0))
    sources = [test_only("test_resnet"), test_only("test_efficientnet")]

    found = choose(image_folder(), sources, budget_s=100.0)

    assert found.name == "test_resnet"
    assert found.candidates[-1].why == "not measured: choosing had taken 21 s by then"


def test_a_network_whose_features_eat_the_budget_is_out(
    image_folder, test_only: Lay, monkeypatch
) -> None:
    """What would take more than half of the budget for the features of all images is left out."""
    times = iter([(0.001, 0.001), (0.001, 3.0)])
    monkeypatch.setattr(backbone_race, "timed", lambda _: next(times))
    sources = [test_only("test_resnet"), test_only("test_efficientnet")]

    found = choose(image_folder(), sources, budget_s=60.0)

    assert "features of 20 images would take 60 s of the budget of 60 s" in found.candidates[1].why
    assert found.candidates[1].image_ms == 3000


def test_where_the_budget_is_too_small_for_all_the_fastest_is_taken(
    image_folder, test_only: Lay, monkeypatch
) -> None:
    """A budget that nothing keeps ends no training: it leaves no time to compare, and says so."""
    times = iter([(0.001, 4.0), (0.001, 3.0)])
    monkeypatch.setattr(backbone_race, "timed", lambda _: next(times))
    sources = [test_only("test_resnet"), test_only("test_efficientnet")]

    found = choose(image_folder(), sources, budget_s=60.0)

    assert found.name == "test_efficientnet"
    assert "the fastest of 2; the budget leaves no time to compare them" in found.reason
    assert [c.standing for c in found.candidates] == ["chosen", "out"]


def test_the_only_one_is_taken_without_measuring(image_folder, test_only: Lay) -> None:
    """With one network on the machine nothing is computed for the choice, and others are named."""
    found = choose(image_folder(), [test_only("test_resnet")])

    assert (found.name, found.candidates[0].images) == ("test_resnet", 0)
    assert "the only one on this machine" in found.reason
    assert "finetune backbones fetch NAME" in found.reason


@pytest.mark.slow
def test_real_networks_are_chosen_among(tmp_path: Path) -> None:
    """The three EfficientNet-Lites are measured on the sample data, and the one taken is good."""
    names = [name for name in registry.BACKBONES if registry.BACKBONES[name].installed]
    if len(names) < 2:
        pytest.skip("only one of the packages of weights is installed")

    found = choose(SAMPLE, candidates.on_disk(), max_per_class=8)

    rows = {c.name: c for c in found.candidates}
    assert set(names) <= set(rows)
    assert all(rows[n].licence == "Apache-2.0" for n in names)
    accuracy = rows[found.name].accuracy
    assert accuracy is not None
    assert accuracy > 0.5


@pytest.mark.parametrize(("kind", "metric"), [("labels", "map"), ("number", "r2")])
def test_labels_and_numbers_are_judged_by_their_own_probe(
    kind: str, metric: str, image_folder, test_only: Lay
) -> None:
    """A candidate's loss is that of the target's best probe, not of the strata it is divided by."""
    root = image_folder({"a": 14, "b": 10})
    cells = {"labels": ("disc;red", "square"), "number": ("1.5", "4.25")}[kind]
    rows = [(f, cells[f.parent.name == "b"]) for f in sorted(root.rglob("*.png"))]
    text = "".join(f"{f.relative_to(root)},{cell}\n" for f, cell in rows)
    table = root / "table.csv"
    table.write_text(f"path,{'labels' if kind == 'labels' else 'width'}\n{text}")
    options = options_for(
        root=str(table),
        backbone=AUTO,
        label_column=None if kind == "labels" else "width",
        target=kind,
        metric=None if kind == "labels" else "mae",
        loss=None if kind == "labels" else "mae",
    )
    listener = Recorder()
    clock = Clock(listener)
    seen = look.look(options, listener, clock, kept=False)
    sources = [test_only("test_resnet"), test_only("test_efficientnet")]

    found = choose_backbone.choose(seen, options, listener, clock, sources)

    analysis = analyze.analyze(options, listener, clock, seen=seen, choice=found)
    probes = begin.target_probed(analysis, clock, all_stages=True)
    taken = found.candidates[0]
    assert taken.name == found.name
    assert taken.metric == metric
    # the order of images is another one, which weak penalties feel in the third digit
    assert taken.loss == pytest.approx(probes.best.score.loss, rel=0.01)
    assert taken.score == pytest.approx(probes.best.score.score, rel=0.01)
    assert taken.features == probes.best.score.name
    other = found.candidates[1]
    assert other.behind is not None
    assert other.noise is not None
    assert taken.loss + other.behind - (taken.behind or 0) == pytest.approx(other.loss, rel=1e-4)
    assert all(c.accuracy is None and c.log_loss is None for c in found.candidates)
    assert ("log loss" if kind == "labels" else "absolute error") in found.reason


# --- the judgement --------------------------------------------------------------------------------


def racer(name: str, losses: np.ndarray, ms: float) -> Racer:
    """A network whose probe gives an image of class 0 this log loss, and that takes so long."""
    right = np.exp(-losses)
    logits = np.log(np.stack([right, 1 - right], axis=1))
    score = StageScore("top", ("top",), 8, 1.0, float(losses.mean()), 0.1, 0.0)
    return Racer(
        source=Source(name=name, licence="test only", permissive=True),
        about=None,  # type: ignore[arg-type]  # nothing of it is asked
        engine=None,
        box=None,  # type: ignore[arg-type]
        latency_s=ms / 1000,
        image_s=ms / 1000,
        rows=np.zeros((len(losses), 8), np.float32),
        left_out=LeftOut(score, logits, 1.0, np.zeros(len(losses), np.int64)),
    )


def losses(mean: float, spread: float = 0.2, seed: int = 0) -> np.ndarray:
    """Log losses of 100 images."""
    drawn = np.random.default_rng(seed).normal(0, spread, 100)
    return np.clip(mean + drawn - drawn.mean(), 0.01, None)


def judged(racers: list[Racer]) -> tuple[str, str]:
    """The name of the one that is taken after the last step, and why."""
    choose_backbone._survivors(racers, 100, last=True)
    chosen, reason = choose_backbone._decided(racers, 100)
    return chosen.name, reason


def test_within_a_standard_error_the_faster_one_stays() -> None:
    """A gain that may be chance is not worth slower answers."""
    racers = [racer("slow", losses(0.500), 30), racer("fast", losses(0.505, seed=1), 10)]

    name, reason = judged(racers)

    assert name == "fast"
    assert "within a standard error of the best" in reason
    assert "10.0 ms an image instead of 30.0" in reason
    assert [r.standing for r in racers] == ["slower", "chosen"]


def test_a_gain_beyond_a_standard_error_is_worth_the_time() -> None:
    """Between one and two standard errors both stay in the race, and the better one is taken."""
    racers = [racer("slow", losses(0.50), 30), racer("fast", losses(0.54, seed=1), 10)]

    name, reason = judged(racers)

    behind, noise = racers[1].behind, racers[1].noise
    assert noise < behind < 2 * noise
    assert name == "slow"
    assert "the least log loss" in reason
    assert [r.standing for r in racers] == ["chosen", "worse"]


def test_a_tenth_of_the_time_is_what_timing_can_tell() -> None:
    """Of two that are equally fast the one with less log loss is taken."""
    racers = [racer("one", losses(0.500), 10), racer("two", losses(0.505, seed=1), 9.5)]

    name, _ = judged(racers)

    assert name == "one"
    assert racers[1].standing == "slower"
    assert "not a tenth faster" in racers[1].why


def test_what_is_clearly_behind_is_dropped_early() -> None:
    """After the first images a network two standard errors behind is measured no more."""
    racers = [racer("good", losses(0.3), 20), racer("bad", losses(0.9, seed=1), 1)]

    kept = choose_backbone._survivors(racers, 100, last=False)

    assert [r.name for r in kept] == ["good"]
    assert racers[1].standing == "worse"
    assert "against good on 100 images" in racers[1].why


def test_of_many_the_better_half_and_the_fastest_go_on() -> None:
    """Successive halving keeps one that is fast and not clearly behind."""
    racers = [racer(f"n{i}", losses(0.5 + 0.002 * i, 0.1, i), 20 - i) for i in range(8)]

    kept = choose_backbone._survivors(racers, 100, last=False)

    assert [r.name for r in kept] == ["n0", "n1", "n2", "n3", "n7"]
    assert all("better half" in r.why for r in racers[4:7])


@pytest.mark.parametrize("counts", [(200, 100), (5, 300), (2, 2, 2), (1, 40)])
def test_any_start_of_the_order_is_stratified(counts: tuple[int, ...]) -> None:
    """Two of each class come first; then every start has each class's share, to one image."""
    labels = np.repeat(np.arange(len(counts)), counts)

    order = backbone_race.in_turn(labels)

    assert sorted(order) == list(range(len(labels)))
    first = np.bincount(labels[order][: 2 * len(counts)], minlength=len(counts))
    assert all(f >= min(2, c) for f, c in zip(first, counts, strict=True))
    for n in range(4 * len(counts), len(labels), 7):
        part = np.bincount(labels[order][:n], minlength=len(counts))
        assert all(abs(p - n * c / len(labels)) <= 3 for p, c in zip(part, counts, strict=True))


# --- fetching -------------------------------------------------------------------------------------


def test_a_hub_that_is_away_is_asked_once(tmp_path: Path, monkeypatch) -> None:
    """--fetch without a network says so once, and the choice goes on among those on disk."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    asked, listener = [], Recorder()

    def away(repository: str, _: str) -> str:
        asked.append(repository)
        raise ConnectionError("Name or service not known")

    left = candidates.fetched(BackboneOptions(name=AUTO, fetch=True), listener, away)

    assert len(asked) == 1
    assert {c.name for c in left} == set(fetching.SHORT_LIST)
    whys = {c.why for c in left if c.permissive}
    assert whys == {"not fetched: the Hub cannot be reached from here"}
    assert {c.standing for c in left} == {"out"}
    assert "choosing among the backbones on this machine" in listener.notes[-1]


def test_one_that_fails_for_itself_does_not_stop_the_others(tmp_path: Path, monkeypatch) -> None:
    """Where the Hub is there but one network is not, the next is asked for."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    file, asked = tmp_path / "weights", []
    file.write_bytes(b"0")

    def get(repository: str, _: str) -> str:
        asked.append(repository)
        if len(asked) == 1:
            raise ValueError("404: no such repository")
        return str(file)

    asked_for = BackboneOptions(name=AUTO, fetch=True, licence="any")
    left = candidates.fetched(asked_for, Recorder(), get)

    assert len(asked) == len(fetching.SHORT_LIST)
    assert [c.why for c in left] == ["not fetched: 404: no such repository"]


def test_only_allowed_licenses_are_fetched(tmp_path: Path, monkeypatch) -> None:
    """What is not for every use is not downloaded, and told, unless any license is asked for."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    file = tmp_path / "weights"
    file.write_bytes(b"0")
    asked: list[str] = []

    def get(repository: str, _: str) -> str:
        asked.append(repository.removeprefix("timm/"))
        return str(file)

    left = candidates.fetched(BackboneOptions(name=AUTO, fetch=True), Recorder(), get)
    permissive = [n for n, licence in fetching.SHORT_LIST.items() if licence == "apache-2.0"]
    assert asked == permissive
    assert [c.name for c in left] == [n for n in fetching.SHORT_LIST if n not in permissive]

    asked.clear()
    assert (
        candidates.fetched(BackboneOptions(name=AUTO, fetch=True, licence="any"), Recorder(), get)
        == []
    )
    assert asked == list(fetching.SHORT_LIST)


def test_without_the_word_nothing_is_fetched() -> None:
    """The Hub is asked for nothing unless --fetch says so."""

    def get(*_: str) -> str:
        raise AssertionError("asked the Hub")

    assert candidates.fetched(BackboneOptions(name=AUTO), Recorder(), get) == []


# --- the commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"backbone": AUTO, "weights": "random"}, "--weights is random"),
        ({"backbone": AUTO, "strategy": "scratch"}, "--strategy scratch"),
        ({"max_latency_s": 0.02}, "--max-latency is for a choice"),
        ({"licence": "any"}, "--licence is for a choice"),
        ({"fetch": True}, "--fetch is for a choice"),
    ],
)
def test_options_that_do_not_go_together_are_refused(asked: dict[str, object], says: str) -> None:
    """An option that would do nothing is a usage error."""
    with pytest.raises(UsageError, match=says):
        begin.check_options(options_for(root="x", **asked))


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, test_only: Lay) -> None:
    """The machine has these two networks, by the word of this test alone."""
    found = [test_only("test_resnet"), test_only("test_efficientnet")]
    monkeypatch.setattr(candidates, "on_disk", lambda: found)


@pytest.mark.usefixtures("two")
def test_a_run_names_what_was_asked_and_what_was_chosen(
    image_folder, tmp_path: Path, run_cli, monkeypatch
) -> None:
    """--json, run.json, terminal and report have it; --from-run takes the choice over."""
    root, out = image_folder(), tmp_path / "run"
    done = run_cli("train", root, "--backbone", "auto", "--strategy", "stage-probe", "--out", out)
    assert done.code == 0, done.err
    result, facts = run_folder.load_result(out), run_folder.load_facts(out)
    choice = facts.backbone_choice
    assert choice is not None

    assert result.backbone == facts.backbone.name == choice.name
    assert result.backbone_choice == choice
    assert facts.request is not None
    assert facts.request.backbone == AUTO
    assert result.seconds["choice"] > 0
    assert result.recommendation.reasons[0].text == choice.reason
    page = (out / "report.html").read_text()
    for c in choice.candidates:
        assert c.name in done.out
        assert c.name in page

    def never(*_: object) -> None:
        raise AssertionError("chosen once more")

    monkeypatch.setattr(choose_backbone, "choose", never)
    again = run_cli("train", "--from-run", out, "--out", tmp_path / "again", "--json")
    assert again.code == 0, again.err
    told = json.loads(again.out)
    assert told["backbone"] == choice.name
    assert told["backbone_choice"]["reason"] == choice.reason


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("command", ["recommend", "compare"])
def test_recommend_and_compare_choose_too(
    command: str, image_folder, run_cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backbone and what it was chosen of are in their answers."""
    monkeypatch.setattr("finetune.workflows.compare.TRANSFERS", ("linear-probe", "stage-probe"))
    root = image_folder()

    done = run_cli(command, root, "--backbone", "auto", "--max-latency", "10s", "--json")

    told = json.loads(done.out)
    assert told["backbone"] == told["backbone_choice"]["name"]
    assert {c["name"] for c in told["backbone_choice"]["candidates"]} == {
        "test_resnet",
        "test_efficientnet",
    }


def test_a_training_that_goes_on_keeps_its_choice(image_folder, tmp_path: Path) -> None:
    """What was chosen is in the progress of a training, from which --resume takes it."""
    options: Options = options_for(
        root=str(image_folder()), out=str(tmp_path / "run"), backbone=AUTO
    )
    choice = BackboneChoice(name="test_resnet", reason="a test", candidates=(), seconds=1.0)

    with resume.opened(options, tmp_path, Recorder()) as progress:
        progress.keep_choice(choice)
        (progress.folder / f"{'0' * 16}.safetensors").write_bytes(b"an epoch")
    with resume.opened(changed(options, resume=True), tmp_path, Recorder()) as progress:
        assert progress.begun.backbone_choice == choice


def test_the_command_that_is_offered_can_be_typed() -> None:
    """Where a run has other options, the command to paste gives the limit with its unit."""
    old, new = (
        Request(root="x", backbone=AUTO),
        Request(root="x", backbone=AUTO, max_latency_s=0.02),
    )

    offered = resume._once_more("run", old, new)

    assert "--max-latency 0.02s" in offered
    assert durations.latency("0.02s") == new.max_latency_s


@pytest.mark.usefixtures("two")
def test_a_named_backbone_drops_the_options_of_the_choice(
    image_folder, tmp_path: Path, run_cli
) -> None:
    """--from-run RUN --backbone NAME does not inherit --max-latency, which would be refused."""
    out = tmp_path / "run"
    probe = ("--strategy", "linear-probe", "--max-latency", "10s")
    done = run_cli("train", image_folder(), "--backbone", "auto", *probe, "--out", out)
    assert done.code == 0, done.err

    options = repetition(out, options_for(root="", backbone="lenet5"), ("backbone",))

    assert options.backbone.name == "lenet5"
    assert options.backbone.max_latency_s is None
