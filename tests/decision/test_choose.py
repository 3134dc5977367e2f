from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from examples import RECOMMENDATION
from helpers import Recorder, changed, options_for, train

from finetune.analysis import analyze, axes
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes, fit_probes
from finetune.decision import choose, forecast, full_size, prior, timing, trials
from finetune.decision.planning import plan_for
from finetune.decision.prior import Belief
from finetune.heads import cross_validation, ridge
from finetune.records import decision
from finetune.records.analysis import DatasetProfile, Reason
from finetune.records.choices import STRATEGIES
from finetune.records.decision import Forecast
from finetune.records.errors import UsageError
from finetune.records.options import Options
from finetune.training import holdout, recipe
from finetune.workflows import recommend

FAST = {"epochs": 2, "side_px": 32, "batch_size": 8}
HOPEFUL = {c: {"deep": Belief(0.5, 0.0, 0.5, 0.2, 0.2)} for c in ("similar", "different")}
HOPELESS = {c: {"deep": Belief(-1.0, 0.0, 0.1, 0.0, 0.1)} for c in ("similar", "different")}
Seen = tuple[Analysis, Probes, DatasetProfile, Recorder]


@pytest.fixture
def seen(image_folder) -> Seen:
    """A small hard folder looked at with the default backbone: shapes of noise, little to learn."""
    root = image_folder({"a": 20, "b": 20, "c": 20, "d": 20}, size=(24, 24))
    return looked_at(options_for(root=str(root), options=FAST))


def looked_at(request: Options) -> Seen:
    listener = Recorder()
    clock = Clock(listener)
    data = analyze.analyze(request, listener, clock)
    probes = fit_probes(data, clock, all_stages=True)
    return data, probes, axes.measure(data, probes, clock), listener


def with_error(probes: Probes, error: float) -> Probes:
    """The same probes, said to be wrong so often."""
    top = replace(probes.top, score=replace(probes.top.score, accuracy=1 - error, log_loss=0.0))
    return replace(probes, top=top)


def test_a_trial_judges_on_images_it_did_not_learn_from(seen: Seen) -> None:
    """Each half is held out once, and its scores are not those of training images."""
    data, probes, measured, listener = seen

    attempt = trials.run_trials(data, probes, measured, Clock(listener))

    (learn_a, held_a), (learn_b, held_b) = attempt.trial.parts
    assert not set(learn_a) & set(held_a)
    assert not set(learn_b) & set(held_b)
    assert sorted([*held_a, *held_b]) == list(range(len(data.labels)))
    assert attempt.trial.logits.shape == (len(data.labels), 4)
    assert [r.judged_on for r in attempt.results] == [len(held_a), len(held_b)]
    assert all(r.seconds > 0 and r.noise >= 0 for r in attempt.results)


def test_a_trial_of_many_images_uses_a_part_of_them(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many a stratified part judges, once; it learns from what its steps see often."""
    data, probes, measured, listener = seen
    monkeypatch.setattr(trials, "JUDGING_IMAGES", 20)
    monkeypatch.setattr("finetune.training.recipe.TRIAL_STEPS", 6)
    monkeypatch.setattr("finetune.training.recipe.TRIAL_EPOCHS", 2)

    attempt = trials.run_trials(data, probes, measured, Clock(listener))

    ((learn, held),) = attempt.trial.parts
    assert (len(learn), len(held)) == (24, 20)  # six steps of eight, twice
    assert set(np.bincount(data.labels[held])) == {5}
    assert not set(learn) & set(held)
    assert len(attempt.made.labels) == len(learn) + len(held)
    assert len(attempt.results) == 1


def test_a_trial_grows_with_the_data(seen: Seen) -> None:
    """Half of the images, of many as many as a tenth of the steps see often; a thousand judge."""
    data, probes, measured, _ = seen
    plan = replace(plan_for(data, measured, probes, "deep"), epochs=10, batch_size=64)

    grown = [trials.sizes(plan, n) for n in (80, 2000, 20_000, 50_000)]
    steps = [recipe.trial_steps(plan, n) for n in (80, 2000, 20_000, 50_000)]

    assert grown == [(40, 40), (800, 1000), (2504, 1000), (6256, 1000)]
    assert steps == [100, 100, 313, 782]


def test_a_settled_trial_is_not_repeated(seen: Seen) -> None:
    """When the first half leaves no doubt, the second is not tried."""
    data, probes, measured, listener = seen
    attempt = trials.run_trials(data, probes, measured, Clock(listener), "deep", lambda _: True)

    assert len(attempt.results) == 1


def test_evidence_decides_and_the_advice_shows_it(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tuning is believed to lead it is chosen, with its trials, and the table is named."""
    data, probes, measured, listener = seen
    monkeypatch.setattr(prior, "BELIEFS", HOPEFUL)
    monkeypatch.setattr(prior, "weigh", lambda *_: decision.Gain(0.1, 0.1, 0.1, 0.01))

    found = choose.decide(data, with_error(probes, 0.2), measured, Clock(listener), trials=True)

    assert found.advice.strategy == found.advice.plan.strategy == "deep"
    assert found.advice.trials
    assert found.advice.table in ("linear-probe", "stage-probe")
    assert found.proof is not None
    assert found.made is not None


def test_a_trial_that_contradicts_is_no_proof(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuning taken in spite of its trial has to be proved before it is returned, which is told."""
    data, probes, measured, listener = seen
    monkeypatch.setattr(prior, "BELIEFS", HOPEFUL)
    monkeypatch.setattr(
        prior, "weigh", lambda *_: decision.Gain(0.1, 0.1, 0.1, 0.01, contradicted=True)
    )

    found = choose.decide(data, with_error(probes, 0.2), measured, Clock(listener), trials=True)

    assert found.advice.strategy == "deep"
    assert found.proof is None
    assert any("it proves nothing" in r.text for r in found.advice.reasons)
    # that takes three quarters as long again, and may not fit the budget any more
    costs = Forecast(strategy="deep", side_px=32, seconds=100.0, fits=True, text="")
    for budget, needed in ((174.0, pytest.approx(175.0)), (176.0, None)):
        asked = replace(data, options=changed(data.options, budget_s=budget))
        assert forecast.proved(costs, asked) == needed


def test_the_headroom_is_that_of_all_images(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the probe was ranked on a part, a fold says what it misses when it has learnt more."""
    root = image_folder({"a": 40, "b": 40}, size=(24, 24))
    monkeypatch.setattr(cross_validation, "RANKING_IMAGES", 20)
    data, probes, _, _ = looked_at(options_for(root=str(root), options=FAST))
    learnt: list[int] = []
    head = Analysis.head

    def fitted(self: Analysis, found: cross_validation.LeftOut, some: np.ndarray) -> ridge.Head:
        learnt.append(len(some))
        return head(self, found, some)

    monkeypatch.setattr(Analysis, "head", fitted)

    error = full_size.probe_error(data, probes)

    assert len(probes.best.labels) < learnt[0] < len(data.labels)
    assert learnt == [np.count_nonzero(data.fold != 0)]
    held = data.fold == 0
    scores = ridge.score(
        head(data, probes.best, np.flatnonzero(~held)), data.blocks(probes.best.score.taps).rows
    )
    wrong = np.mean((scores.argmax(axis=1) != data.labels)[held])
    few, more = (len(probes.best.labels), probes.error), (learnt[0], float(wrong))
    assert error == pytest.approx(min(0.5, full_size.at(data.images, few, more)))
    setting = prior.Setting(images=data.images, classes=2, probe_error=error)
    advice = replace(RECOMMENDATION, reasons=(Reason("prior", "a"), Reason("evidence", "b")))
    told = full_size.told(advice, probes, setting).reasons[1].text
    assert f"about {100 * error:.1f} % where it learns from all {data.images}" in told
    alone = replace(setting, images=len(probes.best.labels))
    assert full_size.told(advice, probes, alone) is advice


def test_hopeless_tuning_is_not_tried(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tuning hardly ever wins the best probe is taken without a trial, and says why."""
    data, probes, measured, listener = seen
    monkeypatch.setattr(prior, "BELIEFS", HOPELESS)

    found = choose.decide(data, with_error(probes, 0.2), measured, Clock(listener), trials=True)

    assert found.advice.strategy in ("linear-probe", "stage-probe")
    assert found.advice.trials == ()
    assert any("hardly ever beats" in r.text for r in found.advice.reasons)


def test_nothing_is_tried_where_the_probe_makes_no_error(seen: Seen) -> None:
    """Tuning cannot mend what is right already: no trial, the probe is taken, and it is told."""
    data, probes, measured, listener = seen

    found = choose.decide(data, with_error(probes, 0.0), measured, Clock(listener), trials=True)

    assert found.advice.strategy in ("linear-probe", "stage-probe")
    assert found.advice.trials == ()
    assert any("no error that tuning could fix" in r.text for r in found.advice.reasons)


def test_without_trials_nothing_is_tuned(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """`recommend` costs no tuning, whatever is believed, and forecasts all four strategies."""
    data, probes, measured, listener = seen
    monkeypatch.setattr(prior, "BELIEFS", HOPEFUL)
    monkeypatch.setattr(trials, "run_trials", lambda *_: pytest.fail("tuned"))

    found = choose.decide(data, with_error(probes, 0.2), measured, Clock(listener), trials=False)

    assert [f.strategy for f in found.advice.forecasts] == list(STRATEGIES[:4])
    assert any("settles it by a short one" in r.text for r in found.advice.reasons)


def test_what_does_not_fit_the_budget_is_not_started(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With seconds to spend, tuning is neither tried nor chosen, and the reason has the figures."""
    data, probes, measured, listener = seen
    monkeypatch.setattr(prior, "BELIEFS", HOPEFUL)
    hurried = replace(data, options=changed(data.options, budget_s=0.01))

    found = choose.decide(hurried, with_error(probes, 0.2), measured, Clock(listener), trials=True)

    assert found.advice.strategy in ("linear-probe", "stage-probe")
    assert any("does not fit the budget" in r.text for r in found.advice.reasons)
    assert "does not fit the budget" in found.advice.reasons[-1].text
    assert found.advice.flips[0].startswith("if --budget were ")
    deep = next(f for f in found.advice.forecasts if f.strategy == "deep")
    assert not deep.fits
    assert deep.seconds > 0.01


def test_a_budget_too_small_for_all_pixels_takes_fewer(
    image_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deep tuning that does not fit at the backbone's own size is planned smaller, and says so."""
    root = image_folder({"a": 12, "b": 12}, size=(300, 300))
    data, probes, measured, listener = looked_at(options_for(root=str(root)))
    monkeypatch.setattr(
        "finetune.training.setup.seconds_per_step", lambda plan, *_: plan.side_px**2 / 1e4
    )
    whole = forecast.forecast(data, measured, probes, ("deep",), Clock(listener))[0]
    tight = replace(data, options=changed(data.options, budget_s=0.95 * whole.seconds))

    one = forecast.forecast(tight, measured, probes, ("deep",), Clock(listener))[0]

    assert (whole.side_px, one.side_px) == (224, 160)
    assert one.fits
    plan = plan_for(tight, measured, probes, "deep", one.side_px)
    assert plan.side_px == 160
    assert "would not fit the budget" in plan.why["side_px"]


def test_a_second_training_is_the_first_thing_that_a_budget_leaves_out(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before pixels are: the forecast counts it, and the plan says why there is none."""
    data, probes, measured, listener = seen
    monkeypatch.setattr(recipe, "TELLING_IMAGES", 10)
    monkeypatch.setattr("finetune.training.setup.seconds_per_step", lambda *_: 10.0)
    ask = {"strategy": "deep", "options": {"batch_size": 8}}
    plain = replace(data, options=changed(data.options, **ask))
    whole = forecast.forecast(plain, measured, probes, ("deep",), Clock(listener))[0]
    tight = replace(data, options=changed(plain.options, budget_s=0.7 * whole.seconds))

    found = choose.decide(tight, probes, measured, Clock(listener), trials=True).advice

    assert whole.refit
    assert "to train on all images" in whole.text
    (less,) = found.forecasts
    assert (less.refit, less.fits, less.side_px) == (False, True, whole.side_px)
    assert not found.plan.refit
    assert found.plan.why["refit"] == "a second training would not fit the budget"
    wanted = replace(
        tight, options=changed(tight.options, options={"refit": True, "batch_size": 8})
    )
    with pytest.raises(UsageError, match="does not fit --budget"):
        choose.decide(wanted, probes, measured, Clock(listener), trials=True)


def test_a_probe_is_taken_however_small_the_budget(seen: Seen) -> None:
    """Nothing costs less than a probe: no budget refuses or replaces it."""
    data, probes, measured, listener = seen
    for asked in ({"strategy": "linear-probe"}, {"policy": "table", "size": "small"}):
        hurried = replace(data, options=changed(data.options, budget_s=0.0001, **asked))

        found = choose.decide(hurried, probes, measured, Clock(listener), trials=True)

        assert found.advice.strategy in ("linear-probe", "stage-probe")
        assert not any("does not fit" in r.text for r in found.advice.reasons)


def test_a_forecast_names_a_budget_only_where_one_applies(seen: Seen) -> None:
    """A strategy that the user named has no budget but the user's own."""
    data, probes, measured, listener = seen
    for asked, says in (
        ({"strategy": "linear-probe"}, "no budget was given"),
        ({"strategy": "linear-probe", "budget_s": 60.0}, "the budget is 60 s"),
        ({}, "the budget is 15 min"),
    ):
        one = replace(data, options=changed(data.options, **asked))

        (found,) = forecast.forecast(one, measured, probes, ("linear-probe",), Clock(listener))

        assert found.text.endswith(says)


def test_forecasts_of_another_choice_are_not_taken(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is repeated on other images may weigh other strategies: these are timed anew."""
    data, probes, measured, listener = seen
    old = (Forecast(strategy="linear-probe", side_px=224, seconds=1.0, fits=True, text="then"),)
    kept = SimpleNamespace(begun=SimpleNamespace(forecasts=old), keep_forecasts=lambda _: None)
    going_on = replace(data, progress=kept)

    same = forecast.forecast(going_on, measured, probes, ("linear-probe",), Clock(listener))
    other = forecast.forecast(going_on, measured, probes, ("stage-probe",), Clock(listener))

    assert same == old
    assert [f.strategy for f in other] == ["stage-probe"]


def test_a_named_strategy_outweighs_the_default_budget_but_not_a_given_one(seen: Seen) -> None:
    """Naming a strategy is the user's word; naming a budget it does not fit is a contradiction."""
    data, probes, measured, listener = seen
    named = replace(data, options=changed(data.options, strategy="deep"))
    free = choose.decide(named, probes, measured, Clock(listener), trials=True)
    both = replace(named, options=changed(named.options, budget_s=0.01))

    assert free.advice.strategy == "deep"
    with pytest.raises(UsageError, match="does not fit --budget"):
        choose.decide(both, probes, measured, Clock(listener), trials=True)


def test_the_table_policy_steps_back_to_the_probe_when_time_is_short(image_folder) -> None:
    """To the letter, but within the budget: the best probe instead of tuning, and it is told."""
    root = image_folder({"a": 12, "b": 12})
    request = options_for(root=str(root), policy="table", size="large", budget_s=0.01, options=FAST)
    data, probes, measured, listener = looked_at(request)

    found = choose.decide(data, probes, measured, Clock(listener), trials=True)

    assert found.advice.strategy == probes.name
    assert found.advice.table == "partial"
    assert any(
        "partial fine-tuning does not fit the budget" in r.text for r in found.advice.reasons
    )


@pytest.mark.slow
def test_a_run_by_evidence_is_no_worse_than_the_probe_by_its_own_trial(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tuned model that the decision let through is still held against the probe, and named."""
    monkeypatch.setattr(prior, "BELIEFS", HOPEFUL)
    monkeypatch.setattr(prior, "weigh", lambda *_: decision.Gain(0.1, 0.1, 0.1, 0.01))
    monkeypatch.setattr(Probes, "error", 0.2)
    root = image_folder({"a": 14, "b": 14})

    result = train(root, tmp_path / "run", policy="measured", options=FAST)

    assert result.recommendation.strategy == "deep"
    assert result.floor is not None
    assert result.floor.n == sum(t.judged_on for t in result.recommendation.trials)
    kept = "deep" if result.floor.kept == "tuned" else "probe"
    assert result.strategy.endswith(kept)


def test_recommendation_of_a_folder_has_seconds_of_each_step(image_folder) -> None:
    """The answer says what looking and deciding cost."""
    root = image_folder({"a": 12, "b": 12})

    advice = recommend.run_recommendation(options_for(root=str(root)), Recorder())

    assert {"features", "probes", "profile", "forecast", "total"} <= set(advice.seconds)


def test_a_backbone_of_one_size_is_tried_at_that_size(image_folder) -> None:
    """A ViT takes 224 px only, so its trial does as well instead of failing on smaller pictures."""
    root = image_folder({"a": 6, "b": 6})
    request = options_for(
        root=str(root),
        backbone="vit_tiny_patch16_224",
        weights="random",
        test_fraction=0.0,
        options={"epochs": 1, "batch_size": 8},
    )
    data, probes, measured, listener = looked_at(request)

    attempt = trials.run_trials(data, probes, measured, Clock(listener), most=1)

    assert attempt.results[0].side_px == 224


def test_few_validation_images_choose_nothing(image_folder, tmp_path: Path) -> None:
    """A ready-made val/ of a few images, or of none, is too small to judge by: halves are used.

    Only `scratch`, which has no probe to be told from, chooses its epoch by whatever there is.
    """
    root = tmp_path / "data"
    image_folder({"a": 6, "b": 6}, root=root / "train")
    image_folder({"a": 2, "b": 2}, root=root / "val", seed=1)
    few = looked_at(options_for(root=str(root)))[0]
    for file in (root / "val").rglob("*.png"):
        file.unlink()
    none = looked_at(options_for(root=str(root)))[0]

    assert few.dataset.val is not None
    assert none.dataset.val is not None
    assert not trials.judged_on_split(few, "deep")
    assert trials.judged_on_split(few, "scratch")
    assert not trials.judged_on_split(none, "deep")
    assert not trials.judged_on_split(none, "scratch")


def test_the_forecast_is_of_what_will_be_done(
    image_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No larger batch is timed than there are images; `scratch` with validation needs no proof."""
    root = image_folder({"a": 10, "b": 10})
    options = {"batch_size": 4096, "side_px": 32, "epochs": 3}
    asked = options_for(root=str(root), strategy="scratch", options=options, test_fraction=0.0)
    data, probes, measured, _ = looked_at(asked)
    data = replace(data, seconds_per_image=0.01)
    timed = []
    monkeypatch.setattr(
        "finetune.training.setup.seconds_per_step", lambda p, *_: timed.append(p) or 1.0
    )

    seconds, text = timing.seconds(data, plan_for(data, measured, probes, "scratch"))

    assert timed[0].batch_size == len(data.splits.train) < 20
    assert text.startswith("3 steps")
    assert "and 0 more to prove it" in text
    assert 3 <= seconds < 5


def test_the_probe_is_judged_as_it_would_be_kept(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a model to keep it learns from the held-out images too, but those it is asked for."""
    data, probes, _, _ = seen
    every = np.arange(len(data.labels))
    rows, held = every[every % 4 > 0], every[every % 4 == 0]
    learnt: list[set[int]] = []
    asked: list[set[int]] = []
    head, blocks = Analysis.head, Analysis.blocks

    def fitted(
        self: Analysis, found: cross_validation.LeftOut, some: np.ndarray | None = None
    ) -> ridge.Head:
        assert some is not None
        learnt.append(set(some.tolist()))
        return head(self, found, some)

    def read(self: Analysis, taps, some=None) -> ridge.Blocks:
        asked.append(set(some.tolist()))
        return blocks(self, taps, some)

    monkeypatch.setattr(Analysis, "head", fitted)
    monkeypatch.setattr(Analysis, "blocks", read)
    model = SimpleNamespace()
    final = holdout.Trial(((rows, held),), np.zeros((len(held), 4)), model, "")
    logits = trials.rival_logits(data, probes.best, final)

    asked = [s for s in asked if s not in learnt]
    assert len(learnt) == len(asked) > 1
    assert set.union(*asked) == set(held.tolist())
    for used, wanted in zip(learnt, asked, strict=True):
        assert used == set(every.tolist()) - wanted
        folds = data.fold[list(wanted)]
        assert len(set(folds.tolist())) == 1
    at = held.tolist().index(min(asked[0]))
    alone = head(data, probes.best, np.array(sorted(learnt[0])))
    row = blocks(data, probes.best.score.taps, held[[at]]).rows
    assert logits[at] == pytest.approx(ridge.score(alone, row)[0], abs=1e-6)


def test_of_a_trial_the_probe_learns_what_the_trial_learnt(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halves are judged like for like: neither model is the one that is kept."""
    data, probes, _, _ = seen
    every = np.arange(len(data.labels))
    learnt: list[set[int]] = []
    head = Analysis.head

    def fitted(
        self: Analysis, found: cross_validation.LeftOut, some: np.ndarray | None = None
    ) -> ridge.Head:
        assert some is not None
        learnt.append(set(some.tolist()))
        return head(self, found, some)

    monkeypatch.setattr(Analysis, "head", fitted)
    halves = (every[::2], every[1::2]), (every[1::2], every[::2])
    trials.rival_logits(
        data, probes.best, holdout.Trial(halves, np.zeros((len(every), 4)), None, "")
    )

    assert learnt == [set(every[::2].tolist()), set(every[1::2].tolist())]
