"""The training loop: the silent faults it must not have."""

from __future__ import annotations

import contextlib
import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Recorder
from torch import nn

from finetune.backbones import load, stages
from finetune.backbones.stages import Backbone
from finetune.heads import calibration, ridge
from finetune.records import option_table
from finetune.records.choices import Strategy
from finetune.records.decision import Plan
from finetune.records.errors import TrainingError
from finetune.records.training import EpochRecord
from finetune.runs import fit_slot
from finetune.runs.fit_slot import Slot
from finetune.training import loop as training_loop
from finetune.training import recipe, setup, state
from finetune.training.loop import RESTARTS, TELLING_STEPS, Tuned, _require_whole, time

SIDE = 64
OPTIMIZERS = option_table.NAMED["optimiser"].choices


def plan_for(kind: Strategy, backbone: Backbone, **changes: object) -> Plan:
    facts = recipe.Facts(images=8, similarity="different", stages=backbone.stages, side_px=SIDE)
    options = {"epochs": 2, "batch_size": 4, "patience": 100} | changes
    return recipe.resolve(kind, facts, options)


def pictures(count: int = 8, side: int = SIDE, classes: int = 2) -> state.Split:
    """Dark and light noise: separable, and every picture differs."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    pixels = rng.integers(0, 80, (count, side, side, 3)) + (labels * 90)[:, None, None, None]
    return state.Split(pixels.astype(np.uint8), labels)


def start_head(backbone: Backbone, classes: int = 2) -> ridge.Head:
    width = backbone(torch.zeros(1, 3, SIDE, SIDE)).shape[1]
    return ridge.Head(np.zeros((classes, width)), np.zeros(classes), 1.0)


def fit(  # noqa: PLR0913 - as many as it has
    plan: Plan,
    backbone: Backbone,
    *,
    val: state.Split | None = None,
    start: ridge.Head | None = None,
    data: state.Split | None = None,
    seed: int = 0,
    listener: Recorder | None = None,
    slot: Slot | None = None,
    until: int | None = None,
) -> Tuned:
    return training_loop.fit(
        plan,
        backbone,
        start if start is not None or plan.strategy == "scratch" else start_head(backbone),
        data or pictures(),
        val,
        classes=2,
        device=torch.device("cpu"),
        seed=seed,
        listener=listener or Recorder(),
        slot=slot,
        until=until,
    )


@pytest.mark.parametrize("kind", ["partial", "deep"])
def test_frozen_means_bit_identical(tiny: Backbone, kind: Strategy) -> None:
    """Frozen stages keep every bit, and no BatchNorm statistic moves in any stage."""
    plan = plan_for(kind, tiny)
    before = {n: t.clone() for n, t in tiny.net.state_dict().items()}

    tuned = fit(plan, tiny).backbone

    frozen = [s for s in tiny.stages if s not in plan.tuned_stages]
    pairs = zip(tiny.stages, tiny.stages, strict=True)
    assert frozen
    for stage, _ in pairs:
        old = tiny.stage_parameters(stage)
        new = tuned.stage_parameters(stage)
        same = all(torch.equal(a, b) for a, b in zip(old, new, strict=True))
        assert same == (stage in frozen), stage
    buffers = dict(tuned.net.named_buffers())
    assert buffers
    for name, tensor in buffers.items():
        assert torch.equal(before[name], tensor), name


def test_the_fast_engine_under_a_training_changes_nothing(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen stages run in OpenVINO, and the training is the one that torch alone has."""
    plan, data = plan_for("partial", tiny), pictures()
    run, stage, reason = setup.frozen(plan, tiny, torch.device("cpu"), SIDE)
    passed: list[int] = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        passed.append(len(x))
        assert run is not None
        return run(x)

    monkeypatch.setattr(setup, "frozen", lambda *_: (counted, stage, reason))
    fast = fit(plan, tiny, val=data)
    monkeypatch.setattr(setup, "frozen", lambda *_: (None, "", None))
    plain = fit(plan, tiny, val=data)

    assert stage == tiny.stages[-2]
    # an image by which memory is counted, then the validation images before and after each of two
    # epochs, of two steps with four images
    assert passed == [1, 8, 4, 4, 8, 4, 4, 8]
    for one, two in zip(fast.history, plain.history, strict=True):
        assert one.train_loss == pytest.approx(two.train_loss, rel=1e-4)
        assert one.val_loss == pytest.approx(two.val_loss, rel=1e-4)
    np.testing.assert_allclose(fast.head.weight, plain.head.weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "device"), [("deep", "cpu"), ("scratch", "cpu"), ("partial", "meta")]
)
def test_torch_runs_what_is_not_worth_another_engine(
    tiny: Backbone, kind: Strategy, device: str
) -> None:
    """A frozen stem alone, nothing frozen, another device: no conversion, nothing to tell."""
    plan = plan_for(kind, tiny)
    assert setup.frozen(plan, tiny, torch.device(device), SIDE) == (None, "", None)


def sides_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The side of every batch that goes through a backbone as a whole."""
    seen: list[int] = []
    forward = Backbone.forward

    def spy(self: Backbone, x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[-1])
        return forward(self, x)

    monkeypatch.setattr(Backbone, "forward", spy)
    return seen


def test_frozen_stages_run_in_the_fast_engine(tiny: Backbone) -> None:
    """What `partial` learns is what it learns where torch runs all stages."""
    plan = plan_for("partial", tiny, side_px=128, epochs=4)
    data = pictures(side=setup.canvas_px(128))
    fast = fit(plan, tiny, data=data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "frozen", lambda *_: (None, "", None))
        plain = fit(plan, tiny, data=data)

    for one, two in zip(fast.history, plain.history, strict=True):
        assert one.train_loss == pytest.approx(two.train_loss, rel=1e-4)
    np.testing.assert_allclose(fast.head.weight, plain.head.weight, rtol=1e-3, atol=1e-5)


def test_the_backbone_given_is_not_changed(tiny: Backbone) -> None:
    """Tuning works on a copy, so the probe under it stays what it was."""
    before = load.digest(tiny.state())

    fit(plan_for("deep", tiny), tiny)

    assert load.digest(tiny.state()) == before


def test_scratch_learns_batchnorm_statistics(tiny: Backbone) -> None:
    """From random weights there are no statistics to keep: they move."""
    before = {n: b.clone() for n, b in tiny.net.named_buffers() if "running" in n}

    tuned = fit(plan_for("scratch", tiny), tiny).backbone

    after = dict(tuned.net.named_buffers())
    assert all(not torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_overfits_eight_images(tiny: Backbone) -> None:
    """A loop that learns at all learns eight images by heart."""
    plan = plan_for("deep", tiny, epochs=15, label_smoothing=0.0, dropout=0.0, lr=3e-3)
    recorder = Recorder()

    fit(plan, tiny, listener=recorder)

    assert recorder.epochs[-1].train_loss < 0.2 < recorder.epochs[0].train_loss


def test_same_seed_same_numbers_other_seed_others(tiny: Backbone) -> None:
    """Two runs with one seed agree bit for bit on a CPU; another seed differs."""
    plan = plan_for("deep", tiny)

    one, two, other = (fit(plan, tiny, seed=s) for s in (0, 0, 1))

    assert load.digest(one.backbone.state()) == load.digest(two.backbone.state())
    assert np.array_equal(one.head.weight, two.head.weight)
    assert not np.array_equal(one.head.weight, other.head.weight)


def test_bfloat16_gives_the_same_bytes_for_the_same_seed(tiny: Backbone) -> None:
    """Mixed precision on a CPU repeats itself bit for bit, keeps float32 weights, and is used."""
    plan = replace(plan_for("deep", tiny), precision="bf16")

    one, two, full = (fit(p, tiny) for p in (plan, plan, replace(plan, precision="fp32")))

    assert load.digest(one.backbone.state()) == load.digest(two.backbone.state())
    assert np.array_equal(one.head.weight, two.head.weight)
    assert load.digest(one.backbone.state()) != load.digest(full.backbone.state())
    assert {t.dtype for t in one.backbone.net.parameters()} == {torch.float32}
    assert one.history[-1].train_loss == pytest.approx(full.history[-1].train_loss, rel=0.1)


def test_best_weights_are_kept(tiny: Backbone) -> None:
    """What comes back scores the validation images as the best epoch did."""
    val = pictures(10)
    recorder = Recorder()

    tuned = fit(plan_for("deep", tiny, epochs=5, lr=5e-3), tiny, val=val, listener=recorder)

    with torch.inference_mode():
        x = tuned.backbone.normalise(torch.from_numpy(val.pixels[:]))
        logits = ridge.score(tuned.head, tuned.backbone(x).numpy())
    losses = [math.log(2)] + [r.val_loss for r in recorder.epochs if r.val_loss is not None]
    assert calibration.calibrated_log_loss(logits, val.labels) == pytest.approx(
        min(losses), abs=1e-5
    )


def test_patience_ends_a_training_that_gets_no_better(tiny: Backbone) -> None:
    """With a rate too small to change anything, `patience` epochs are all there is."""
    swapped = replace(pictures(10), labels=1 - pictures(10).labels)
    plan = plan_for("deep", tiny, epochs=30, patience=3)
    recorder = Recorder()

    fit(plan, tiny, val=swapped, listener=recorder)

    assert len(recorder.epochs) < 30
    assert any("no better" in note for note in recorder.notes)


def test_without_validation_all_epochs_run(tiny: Backbone) -> None:
    """No validation images: nothing to stop by and no figure made up for them."""
    recorder = Recorder()

    fit(plan_for("partial", tiny, epochs=3), tiny, listener=recorder)

    assert [r.epoch for r in recorder.epochs] == [1, 2, 3]
    assert {r.val_loss for r in recorder.epochs} == {None}
    assert recorder.last == (6, 6)


def test_tuning_starts_at_the_probe(tiny: Backbone) -> None:
    """With a rate of nearly nothing the tuned head is the probe's, temperature folded in."""
    rng = np.random.default_rng(0)
    width = start_head(tiny).weight.shape[1]
    start = ridge.Head(rng.normal(size=(2, width)), rng.normal(size=2), 2.0)
    plan = plan_for("deep", tiny, epochs=1, lr=1e-9, weight_decay=0.0)

    tuned = fit(plan, tiny, start=start)

    assert np.allclose(tuned.head.weight, start.weight / 2.0, atol=1e-6)
    assert np.allclose(tuned.head.bias, start.bias / 2.0, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_trains(tiny: Backbone, name: str) -> None:
    """Each optimiser, at its own default rate, changes the tuned stage and lowers the loss."""
    recorder = Recorder()
    plan = plan_for("partial", tiny, optimiser=name, epochs=6)

    tuned = fit(plan, tiny, listener=recorder)

    assert load.digest(tuned.backbone.state()) != load.digest(tiny.state())
    assert recorder.epochs[-1].train_loss < recorder.epochs[0].train_loss


def test_rates_fall_toward_the_stem(tiny: Backbone) -> None:
    """The head learns fastest, then each stage less than the one above it."""
    plan = plan_for("deep", tiny)
    head = setup._head(tiny, start_head(tiny), 2, plan, torch.device("cpu"))

    _, rates = setup._optimizer(plan, tiny, head)

    assert rates == sorted(rates, reverse=True)
    assert rates[0] == plan.head_lr
    assert sorted(set(rates), reverse=True)[1] == plan.lr
    assert len(set(rates)) == 1 + len(plan.tuned_stages)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_norms_and_biases_do_not_decay(tiny: Backbone, name: str) -> None:
    """Each tuned parameter is in one group; only weights of two dimensions or more decay."""
    plan = plan_for("deep", tiny, optimiser=name, weight_decay=0.3)
    head = setup._head(tiny, start_head(tiny), 2, plan, torch.device("cpu"))

    optimiser, _ = setup._optimizer(plan, tiny, head)

    tuned = [p for s in plan.tuned_stages for p in tiny.stage_parameters(s)]
    found = [(p, g["weight_decay"]) for g in optimiser.param_groups for p in g["params"]]
    assert sorted(id(p) for p, _ in found) == sorted(id(p) for p in [*head.parameters(), *tuned])
    assert {p.ndim > 1 for p, decay in found if decay == 0.3} == {True}
    assert {p.ndim > 1 for p, decay in found if decay == 0.0} == {False}
    assert {decay for _, decay in found} == {0.0, 0.3}


def test_what_a_networks_authors_spare_does_not_decay() -> None:
    """Positions and the class token of a ViT, which have three dimensions, do not decay."""
    body, _ = load.build("test_vit", "random")
    plan = replace(plan_for("deep", body), tuned_stages=body.stages, weight_decay=0.3)
    width = body(body.normalise(torch.zeros(1, 160, 160, 3, dtype=torch.uint8))).shape[1]
    head = setup._head(
        body, ridge.Head(np.zeros((2, width)), np.zeros(2), 1.0), 2, plan, torch.device("cpu")
    )

    optimiser, _ = setup._optimizer(plan, body, head)

    decays = {id(p): g["weight_decay"] for g in optimiser.param_groups for p in g["params"]}
    spared = [p for n, p in body.net.named_parameters() if n in body.net.no_weight_decay()]
    assert spared
    assert {decays[id(p)] for p in spared if id(p) in decays} == {0.0}


def falling_apart(monkeypatch: pytest.MonkeyPatch, below: float) -> list[float]:
    """Make training at rates of `below` or more end at knowing nothing; returns the rates."""
    rates: list[float] = []
    whole = state.Loop.epoch

    def epoch(self: state.Loop, number: int, data: state.Split, listener: Recorder) -> float:
        whole(self, number, data, listener)
        rates.append(self.plan.lr)
        self.began = 0.1
        return 0.2 if self.plan.lr < below else math.log(2)

    monkeypatch.setattr(state.Loop, "epoch", epoch)
    monkeypatch.setattr(training_loop, "TELLING_STEPS", 4)  # two epochs of two
    return rates


def test_a_training_that_falls_apart_begins_anew_at_a_third_of_the_rate(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, the plan has the rate that was used and why, and frozen is frozen as ever."""
    plan = plan_for("deep", tiny, epochs=4)
    rates, listener = falling_apart(monkeypatch, below=plan.lr), Recorder()

    tuned = fit(plan, tiny, start=start_head(tiny), listener=listener)

    assert rates == [plan.lr] * 2 + [plan.lr / 3] * 4
    assert tuned.plan.lr == pytest.approx(plan.lr / 3)
    assert tuned.plan.head_lr == pytest.approx(plan.head_lr / 3)
    assert "diverged" in tuned.plan.why["lr"]
    assert any("started again" in n for n in listener.notes)
    assert len(tuned.history) == 4


def test_a_training_that_ends_before_half_of_its_schedule_is_judged_at_its_end(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second training ends after the best epoch: it is not returned where it knows nothing."""
    plan = plan_for("deep", tiny, epochs=10)
    rates = falling_apart(monkeypatch, below=plan.lr)

    tuned = fit(plan, tiny, start=start_head(tiny), until=2)

    assert rates == [plan.lr] * 2 + [plan.lr / 3] * 2
    assert len(tuned.history) == 2


def test_a_training_begun_anew_is_that_of_the_smaller_rate(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the attempt that fell apart is left: the same weights as at that rate at once."""
    plan = plan_for("deep", tiny, epochs=4)
    plain = fit(recipe.slower(plan, 1), tiny, start=start_head(tiny))
    falling_apart(monkeypatch, below=plan.lr)

    again = fit(plan, tiny, start=start_head(tiny))

    for name, tensor in plain.backbone.state().items():
        torch.testing.assert_close(again.backbone.state()[name], tensor, rtol=0, atol=0)


def test_a_training_that_falls_apart_at_every_rate_is_a_fault(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three rates it is given up, with a smaller one to try; never returned as a model."""
    plan = plan_for("deep", tiny, epochs=4)
    falling_apart(monkeypatch, below=0.0)

    with pytest.raises(TrainingError, match="diverged") as caught:
        fit(plan, tiny, start=start_head(tiny))

    assert "--lr" in caught.value.hint


def dead(backbone: Backbone) -> Backbone:
    """A copy whose first activations are zero for every image, and get no gradient."""
    copied = copy.deepcopy(backbone)
    first = next(m for m in copied.net.modules() if isinstance(m, nn.BatchNorm2d))
    with torch.no_grad():
        first.weight.zero_()
        first.bias.fill_(-1.0)
    return copied


def test_the_same_features_for_every_image_are_a_divergence_wherever_the_loss_began(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the head knew nothing no loss shows that the network died; this does, at once."""
    monkeypatch.setattr(training_loop, "TELLING_STEPS", 4)
    blank = replace(start_head(tiny), weight=np.zeros_like(start_head(tiny).weight))

    with pytest.raises(TrainingError, match=r"in epoch 2 .* the same features for every image"):
        fit(plan_for("deep", tiny, epochs=9), dead(tiny), start=blank)


def test_labels_that_cannot_be_learnt_are_no_divergence(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that knew nothing at first may know nothing at the end: trained once, and returned."""
    monkeypatch.setattr(training_loop, "TELLING_STEPS", 4)
    whole, rates = state.Loop.epoch, []

    def epoch(self: state.Loop, number: int, data: state.Split, listener: Recorder) -> float:
        whole(self, number, data, listener)
        rates.append(self.plan.lr)
        self.began = 1.0
        return math.log(2)

    monkeypatch.setattr(state.Loop, "epoch", epoch)

    tuned = fit(plan_for("deep", tiny, epochs=4), tiny, start=start_head(tiny))

    assert len(tuned.history) == 4
    assert len({*rates}) == 1


def test_a_few_steps_do_not_tell_of_the_rate(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses of the first batches differ by chance: nothing is repeated because of them."""
    plan = plan_for("deep", tiny, epochs=4)
    rates = falling_apart(monkeypatch, below=0.0)
    monkeypatch.setattr(training_loop, "TELLING_STEPS", 9)

    fit(plan, tiny, start=start_head(tiny))

    assert rates == [plan.lr] * 4


def test_a_head_that_knew_nothing_has_nothing_to_fall_from(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first loss is that of knowing nothing (shuffled labels) nothing is repeated."""
    plan = plan_for("deep", tiny, epochs=4)

    def epoch(self: state.Loop, *_: object) -> float:
        self.began = math.log(2)
        return self.began

    monkeypatch.setattr(state.Loop, "epoch", epoch)

    assert len(fit(plan, tiny, start=start_head(tiny)).history) == 4


def loop_of(labels: list[int], tiny: Backbone, start: ridge.Head, **changes: object) -> state.Loop:
    """What a training with class weights begins with; pictures are by their labels."""
    plan = plan_for("partial", tiny, class_weights=True, **changes)
    return setup.make_loop(plan, tiny, start, by_label(labels), 2, torch.device("cpu"), seed=0)


def by_label(labels: list[int]) -> state.Split:
    """Pictures of noise with these labels."""
    side = setup.canvas_px(SIDE)
    shape = (len(labels), side, side, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return state.Split(pixels, np.array(labels))


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_of_a_weighed_batch_give_its_gradient(tiny: Backbone, parts: int) -> None:
    """One rare image among common ones counts the same in whatever part of its batch it goes."""
    labels = [0] * 5 + [1]
    loop = loop_of(labels, tiny, start_head(tiny), dropout=0.0)
    x = loop.backbone.normalise(torch.rand(6, 3, SIDE, SIDE) * 255)

    def gradient(count: int) -> tuple[float, torch.Tensor]:
        loop.parts = count
        loss = loop._gradients(x, torch.tensor(labels), len(labels))
        return loss, loop.head.linear.weight.grad.clone()  # type: ignore[union-attr]

    whole, together = gradient(1)
    added, apart = gradient(parts)

    assert added == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(apart, together, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rare", [1, 4])
def test_where_a_training_began_does_not_depend_on_its_first_batch(
    tiny: Backbone, rare: int
) -> None:
    """A head that knows how frequent classes are, and no more, begins at knowing nothing."""
    labels = [0] * 20 + [1] * rare
    blind = loop_of(labels, tiny, start_head(tiny)).criterion.blind(np.array(labels), 2)
    loop = loop_of(labels, tiny, replace(start_head(tiny), bias=np.log(blind)), lr=1e-9)

    mean = loop.epoch(1, by_label(labels), Recorder())

    assert loop.began == pytest.approx(loop.ignorance(by_label(labels)), rel=1e-4)
    assert mean == pytest.approx(loop.began, rel=1e-4)


@pytest.mark.parametrize("loss", ["knows", "fell apart"])
def test_the_guard_measures_a_weighed_training_with_its_own_loss(tiny: Backbone, loss: str) -> None:
    """At 30:1 knowing nothing is 0.51, and not log 2: half of that is learnt, 0.5 is not."""
    labels = [0] * 60 + [1] * 2
    loop = loop_of(labels, tiny, start_head(tiny), epochs=1)
    nothing = loop.ignorance(by_label(labels))
    share = math.sqrt(30) / (math.sqrt(30) + 1)
    wanted = np.array([0.9 * share + 0.05, 0.9 * (1 - share) + 0.05])
    loop.began, loop.done, loop.slowed = nothing / 2, TELLING_STEPS, RESTARTS
    last = nothing if loss == "fell apart" else 0.6 * nothing

    assert nothing == pytest.approx(-(wanted * np.log(wanted)).sum(), rel=1e-5)
    with pytest.raises(TrainingError) if loss == "fell apart" else contextlib.nullcontext():
        history = [EpochRecord(1, last, None, None, 1e-3, 0.0, best=False)]
        _require_whole(history, loop, by_label(labels))


def test_a_loss_that_is_no_number_stops_with_the_step(tiny: Backbone) -> None:
    """A broken start is reported with its step and a smaller rate to try, not trained on."""
    start = start_head(tiny)
    broken = replace(start, bias=np.array([math.nan, 0.0]))

    with pytest.raises(TrainingError, match="step 1 of epoch 1") as caught:
        fit(plan_for("deep", tiny), tiny, start=broken)

    assert "--lr" in caught.value.hint


def test_a_loss_that_becomes_no_number_returns_the_best_epoch_before(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With validation images what was best until then comes back, with the fault."""
    step, count = state.Loop.step, iter(range(100))

    def diverge(self: state.Loop, pixels: np.ndarray, labels: torch.Tensor) -> float:
        return step(self, pixels, labels) if next(count) < 4 else math.nan

    monkeypatch.setattr(state.Loop, "step", diverge)
    recorder, val = Recorder(), pictures(10)

    tuned = fit(plan_for("deep", tiny, epochs=4), tiny, val=val, listener=recorder)

    assert "step 5 of epoch 3" in str(tuned.stopped)
    assert len(tuned.history) == 2
    assert tuned.logits is not None
    losses = [math.log(2), *(r.val_loss for r in recorder.epochs if r.val_loss is not None)]
    assert calibration.calibrated_log_loss(tuned.logits, val.labels) == pytest.approx(min(losses))


def test_an_unsure_epoch_that_orders_better_is_the_best(tiny: Backbone) -> None:
    """Scores are compared at their own temperatures: smoothed ones do not lose to sure ones."""
    plan, data = plan_for("deep", tiny), pictures()
    cpu = torch.device("cpu")
    loop = setup.make_loop(plan, tiny, start_head(tiny), data, 2, cpu, seed=0)
    labels = np.arange(40) % 2
    sure = 2.0 * np.eye(2)[np.where(np.arange(40) < 4, 1 - labels, labels)]
    unsure = 0.1 * np.eye(2)[np.where(np.arange(40) < 2, 1 - labels, labels)]
    best, val = state.Best(), replace(data, labels=labels)

    first, second = (best.offer(i, s, val, loop) for i, s in enumerate((sure, unsure)))

    assert calibration.log_loss(sure, labels) < calibration.log_loss(unsure, labels)
    assert first[1]
    assert second[1]
    assert second[0] < first[0]
    assert (best.epoch, best.loss) == (1, second[0])


def limit_memory(monkeypatch: pytest.MonkeyPatch, most: int, text: str) -> list[int]:
    """Let a network learn from so many images at once at most; returns the sizes it was given."""
    forward, sizes = stages.Backbone.forward, []

    def guarded(self: Backbone, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            sizes.append(len(x))
            if len(x) > most:
                raise RuntimeError(text)
        return forward(self, x)

    monkeypatch.setattr(stages.Backbone, "forward", guarded)
    return sizes


@pytest.mark.parametrize(
    "text",
    ["CUDA out of memory. Tried to allocate 2 GiB", "DefaultCPUAllocator: can't allocate memory"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_short_of_memory_the_batch_goes_in_parts_with_the_same_update(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch, text: str, weighted: bool
) -> None:
    """Halved until it fits, said once, and the weights end where a whole batch leads."""
    options = {"dropout": 0.0, "class_weights": weighted, "batch_size": 6, "optimiser": "sgd"}
    plan, data = plan_for("deep", tiny, **options), pictures(12)
    data = replace(data, labels=(np.arange(12) % 4 == 0).astype(np.int64))
    start, recorder = start_head(tiny), Recorder()
    whole = fit(plan, tiny, data=data)
    sizes = limit_memory(monkeypatch, 2, text)

    parts = fit(plan, tiny, start=start, data=data, listener=recorder)

    assert sizes == [1, 6, 3, *([2, 2, 1, 1] * 4)]  # first an image by which memory is counted
    assert [n for n in recorder.notes if "memory" in n] == [
        "out of memory: batches of 6 are split into parts of 2 from here on, whose gradients add "
        "up to the same update"
    ]
    assert np.allclose(parts.head.weight, whole.head.weight, atol=1e-5)
    for name, tensor in whole.backbone.net.state_dict().items():
        assert torch.allclose(parts.backbone.net.state_dict()[name], tensor, atol=1e-5), name


def test_an_image_that_does_not_fit_into_memory_is_a_fault(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where halving does not help, the resolution is named and a smaller one to try."""
    start = start_head(tiny)
    limit_memory(monkeypatch, 0, "CUDA out of memory")

    with pytest.raises(TrainingError, match="single image of 64 px") as caught:
        fit(plan_for("deep", tiny), tiny, start=start)

    assert "--image-size" in caught.value.hint


def test_other_faults_of_a_step_pass_through(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is not taken for a lack of memory."""
    start = start_head(tiny)
    limit_memory(monkeypatch, 0, "shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        fit(plan_for("deep", tiny), tiny, start=start)


class Mortal(Recorder):
    """Dies at the end of an epoch."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last_epoch = last

    def epoch(self, record: EpochRecord) -> None:
        super().epoch(record)
        if record.epoch == self.last_epoch:
            raise GeneratorExit  # passes through everything, as the end of a process does


@pytest.mark.parametrize("kind", ["partial", "deep", "scratch"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(
    tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: Strategy
) -> None:
    """Moments, chance, schedule, best epoch and history: no optimiser forgets anything."""
    monkeypatch.setattr(fit_slot, "PAUSE", 0)  # every epoch is kept
    plan, val = plan_for(kind, tiny, optimiser=name, epochs=4, lr=3e-3), pictures(6)
    whole = fit(plan, tiny, val=val, listener=(everything := Recorder()))
    with pytest.raises(GeneratorExit):
        fit(plan, tiny, val=val, listener=Mortal(2), slot=Slot(tmp_path / "fit"))

    again = fit(plan, tiny, val=val, listener=(rest := Recorder()), slot=Slot(tmp_path / "fit"))

    assert [r.epoch for r in rest.epochs] == [3, 4]
    assert [r.val_loss for r in again.history] == [r.val_loss for r in everything.epochs]
    assert load.digest(again.backbone.state()) == load.digest(whole.backbone.state())
    assert np.array_equal(again.head.weight, whole.head.weight)


def test_a_fit_that_was_finished_is_read_back(tiny: Backbone, tmp_path: Path) -> None:
    """Nothing is trained twice: no step is made, and the result is the same."""
    plan, slot = plan_for("deep", tiny), Slot(tmp_path / "fit")
    first = fit(plan, tiny, slot=slot)

    again = fit(plan, tiny, listener=(recorder := Recorder()), slot=Slot(tmp_path / "fit"))

    assert recorder.last == (0, 0)
    assert again.history == first.history
    assert load.digest(again.backbone.state()) == load.digest(first.backbone.state())


def test_interrupted_without_validation_nothing_is_returned(tiny: Backbone) -> None:
    """Weights that nobody has judged are not passed off as a result."""

    class Interrupter(Recorder):
        def progress(self, done: int, total: int) -> None:
            super().progress(done, total)
            if done == total - 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(plan_for("deep", tiny), tiny, listener=Interrupter())


def test_schedule_warms_up_and_comes_to_rest() -> None:
    """The factor rises to one in the warm-up and falls to nearly nothing at the end."""
    factors = [state.schedule(i, 100, 0.1) for i in range(100)]

    assert factors[:10] == sorted(factors[:10])
    assert max(factors) == pytest.approx(1.0)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 1e-3


@pytest.mark.parametrize("kind", ["partial", "deep", "scratch"])
def test_timing_a_step_changes_nothing_that_is_given(tiny: Backbone, kind: Strategy) -> None:
    """Seconds of a step are positive, and the network keeps its weights, mode and gradients."""
    before = {n: t.clone() for n, t in tiny.net.state_dict().items()}
    wanted = [p.requires_grad for p in tiny.net.parameters()]

    seconds = setup.seconds_per_step(plan_for(kind, tiny), tiny, 2, torch.device("cpu"), steps=1)

    assert seconds > 0
    after = tiny.net.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert [p.requires_grad for p in tiny.net.parameters()] == wanted
    assert all(p.grad is None for p in tiny.net.parameters())
    assert not any(m.training for m in tiny.net.modules())


def test_the_step_that_is_timed_is_the_one_that_is_trained(
    tiny: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full batches of the plan's size go through; the quickest counts, but never the first."""
    plan = plan_for("deep", tiny, batch_size=5, side_px=96)
    seen: list[tuple[int, ...]] = []
    clock = iter([10.0, 13.0, 20.0, 22.0, 30.0, 36.0])
    step = state.Loop.step

    def spy(self: state.Loop, train: state.Split, rows: np.ndarray) -> float:
        seen.append((*train.pixels[rows].shape, len(rows), int(train.labels.max())))
        assert not self.backbone.training
        assert self.head.training
        return step(self, train, rows)

    monkeypatch.setattr(state.Loop, "step", spy)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))

    seconds = setup.seconds_per_step(plan, tiny, 3, torch.device("cpu"), steps=3)

    side = setup.canvas_px(96)
    assert seen == [(5, side, side, 3, 5, 2)] * 4
    assert seconds == pytest.approx(2.0)


def test_timing_a_step_does_not_change_the_training_after_it(tiny: Backbone) -> None:
    """A run that forecasts its time ends in the same weights as one that does not."""
    plan = plan_for("deep", tiny, epochs=1)
    alone = fit(plan, tiny)

    setup.seconds_per_step(plan, tiny, 2, torch.device("cpu"))
    after = fit(plan, tiny)

    assert load.digest(after.backbone.state()) == load.digest(alone.backbone.state())
    assert np.array_equal(after.head.weight, alone.head.weight)


def test_timing_a_step_takes_few_classes_and_many(tiny: Backbone) -> None:
    """A batch smaller than the number of classes, and weights for rare classes, are no fault."""
    plan = plan_for("deep", tiny, class_weights=True)

    for classes in (2, 50):
        seconds = setup.seconds_per_step(plan, tiny, classes, torch.device("cpu"), steps=1)
        assert seconds > 0


@pytest.mark.gpu
def test_tuning_on_a_gpu_follows_the_cpu(tiny: Backbone) -> None:
    """With mixed precision on a GPU the loss falls as on a CPU."""
    recorder = Recorder()
    plan = plan_for("deep", tiny, epochs=6)

    training_loop.fit(
        plan,
        tiny,
        start_head(tiny),
        pictures(),
        None,
        classes=2,
        device=torch.device("cuda"),
        seed=0,
        listener=recorder,
    )

    assert recorder.epochs[-1].train_loss < recorder.epochs[0].train_loss


@pytest.mark.parametrize("parts", [1, 3])
def test_images_without_weight_teach_nothing(tiny: Backbone, parts: int) -> None:
    """Whatever their labels are, gradients are the same; and weights of one are no weights."""

    def stepped(labels: list[int], counts: list[float] | None) -> list[torch.Tensor]:
        data = by_label(labels)
        plan = plan_for("partial", tiny)
        loop = setup.make_loop(plan, tiny, start_head(tiny), data, 2, torch.device("cpu"), seed=0)
        loop.parts = parts
        torch.manual_seed(0)  # of the dropout
        loop.step(replace(data, counts=counts and np.array(counts)), np.arange(len(labels)))
        return [p.grad.clone() for p in loop.head.parameters() if p.grad is not None]

    half = [0.0, 0.0, 3.0, 1.0]
    one, two = stepped([0, 1, 0, 1], half), stepped([1, 0, 0, 1], half)
    plain, ones = stepped([0, 1, 0, 1], None), stepped([0, 1, 0, 1], [1.0] * 4)

    assert len(plain) == 2
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain, ones, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(plain, one, strict=True))
