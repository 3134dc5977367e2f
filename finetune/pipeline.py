"""The story of each command as a list of calls."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from finetune import (
    backbones,
    batches,
    data,
    engine,
    evaluate,
    features,
    predict,
    probe,
    profile,
    report,
    runs,
    strategy,
    train,
    tune,
)
from finetune.backbones import TOP, Backbone
from finetune.errors import DataError, UsageError, safe_name
from finetune.records import (
    Advice,
    BackboneFacts,
    Dataset,
    DatasetProfile,
    EpochRecord,
    Evaluation,
    Finding,
    Floor,
    HeadFacts,
    Metrics,
    Plan,
    Prediction,
    Recommendation,
    Request,
    RunFacts,
    RunResult,
    Sample,
    Splits,
    StageScore,
    Strategy,
)
from finetune.train import Listener

SIZE_SAMPLE = 200  # headers read to learn how large the images are


@dataclass
class _Clock:
    """Names each step to the listener and keeps its seconds."""

    listener: Listener
    began: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str, text: str) -> Iterator[None]:
        self.listener.step(text)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def total(self) -> dict[str, float]:
        return {**self.seconds, "total": time.perf_counter() - self.began}


@dataclass(frozen=True)
class _Work:
    """The data read and turned into features; rows of `table` stand for `samples`."""

    request: Request
    dataset: Dataset
    splits: Splits
    backbone: Backbone
    facts: BackboneFacts
    device: torch.device
    runtime: engine.Engine
    table: features.Table
    samples: tuple[Sample, ...]
    labels: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    findings: tuple[Finding, ...]
    listener: Listener

    @property
    def in_train(self) -> npt.NDArray[np.bool_]:
        """Which rows are not kept from tuning for validation, bool[N]."""
        held = {s.path for s in self.splits.val}
        return np.array([s.path not in held for s in self.samples])


@dataclass(frozen=True)
class _Probes:
    """Cross-validated linear classifiers: on the top features, and on others where wanted."""

    top: probe.CrossValidation
    others: tuple[probe.CrossValidation, ...]

    @property
    def best(self) -> probe.CrossValidation:
        return min((self.top, *self.others), key=lambda c: c.score.log_loss)

    @property
    def table(self) -> tuple[StageScore, ...]:
        return tuple(c.score for c in (*self.others, self.top))


@dataclass(frozen=True)
class _Model:
    """What is returned: a backbone with a head, and what is known of it before the test."""

    strategy: Strategy
    backbone: Backbone
    runtime: engine.Engine
    head: probe.Head
    taps: tuple[str, ...]
    side_px: int
    estimate: Metrics
    estimate_source: str
    history: tuple[EpochRecord, ...] = ()
    floor: Floor | None = None


def run_training(request: Request, listener: Listener) -> RunResult:
    """`finetune train`: look, decide, do it, prove it, keep it."""
    clock = _Clock(listener)
    _check(request)
    now = datetime.now(UTC)
    # a place that is taken is told before the work, not after it
    runs.choose_folder(request.out, Path(request.root), request.strategy, now)
    work = _prepare(request, listener, clock)
    probes = _fit_probes(
        work, clock, all_stages=request.strategy not in ("linear-probe", "scratch")
    )
    measured, advice = _decide(work, probes)
    _announce(request, advice, listener)
    model = _realise(work, probes, advice, clock)
    test, leaks = _examine(work, model, clock)
    path = runs.choose_folder(request.out, Path(request.root), model.strategy, now.astimezone())
    with clock.step("save", "writing the run"):
        result = RunResult(
            run=safe_name(str(path)),
            strategy=model.strategy,
            requested_strategy=request.strategy,
            classes=work.dataset.classes,
            counts=_counts(work.splits),
            test=test,
            estimate=model.estimate,
            estimate_source=model.estimate_source,
            stages=probes.table,
            recommendation=advice,
            floor=model.floor,
            findings=work.findings + leaks,
            seconds={},
        )
        result = replace(result, seconds=clock.total())
        _keep(path, work, model, result, measured, now)
    return replace(result, seconds=clock.total())


def run_recommendation(request: Request, listener: Listener) -> Advice:
    """`finetune recommend DIR`: the same looking and deciding, nothing trained."""
    clock = _Clock(listener)
    _check(request)
    work = _prepare(request, listener, clock)
    probes = _fit_probes(work, clock, all_stages=True)
    measured, advice = _decide(work, probes)
    return Advice(advice, measured, probes.table, _counts(work.splits), work.findings)


def run_prediction(
    paths: Sequence[Path], run: Path | None, *, top: int, device: str, listener: Listener
) -> list[Prediction]:
    """`finetune predict`."""
    loaded = runs.load(run or runs.latest())
    files = list(data.list_images(paths))
    listener.step(f"classifying {len(files)} image(s) with {loaded.path}")
    return predict.predict(loaded, files, top=top, device=device, progress=listener.progress)


def run_evaluation(
    root: Path, run: Path | None, *, device: str, unseen: bool, listener: Listener
) -> Evaluation:
    """`finetune evaluate DIR`: how a run does on labelled images."""
    path = run or runs.latest()
    loaded, splits = runs.load(path), runs.load_splits(path)
    dataset = data.scan_labelled(root, loaded.facts.classes)
    known = {s.digest for s in splits.fitting}
    samples = tuple(s for s in dataset.pool if not (unseen and s.digest in known))
    if not samples:
        raise DataError(
            f"every image in {root} was used to train {path}",
            hint="Give images the run has not seen, or leave out --unseen.",
        )
    listener.step(f"classifying {len(samples)} images")
    answers = predict.predict(
        loaded,
        [root / s.path for s in samples],
        top=len(loaded.facts.classes),
        device=device,
        progress=listener.progress,
    )
    index = {name: i for i, name in enumerate(loaded.facts.classes)}
    good = [(s, a) for s, a in zip(samples, answers, strict=True) if a.error is None]
    bad = [(s, str(a.error)) for s, a in zip(samples, answers, strict=True) if a.error is not None]
    if not good:
        raise DataError(f"no image in {root} could be read: {bad[0][1]}", hint="Check the files.")
    rows = np.zeros((len(good), len(index)))
    for i, (_, answer) in enumerate(good):
        for entry in answer.top:
            rows[i, index[entry.label]] = entry.probability
    labels = np.array([s.label for s, _ in good], np.int64)
    metrics = evaluate.measure(rows, labels, loaded.facts.classes)
    leaks = data.leaks(splits.fitting, [s for s, _ in good])
    findings = dataset.findings + leaks + _unreadable([s for s, _ in bad], [m for _, m in bad])
    return Evaluation(
        run=safe_name(str(path)), data=safe_name(str(root)), metrics=metrics, findings=findings
    )


def _check(request: Request) -> None:
    if request.strategy != "auto" and request.strategy not in strategy.STRATEGIES:
        raise UsageError(
            f"unknown strategy '{request.strategy}'",
            hint=f"Use auto or one of {', '.join(strategy.STRATEGIES)}.",
        )
    strategy.check(request.options)
    scratch = request.strategy == "scratch"
    if request.backbone == "lenet5" and not scratch and request.weights is None:
        raise UsageError(
            "lenet5 has no pretrained weights",
            hint="Use --strategy scratch, or --weights FILE with your own.",
        )


def _prepare(request: Request, listener: Listener, clock: _Clock) -> _Work:
    """Scan, split, load the backbone, take features of every image that is not test."""
    root = Path(request.root)
    with clock.step("scan", f"reading {root}"):
        dataset = data.scan(root)
        splits = data.split(
            dataset,
            seed=request.seed,
            val_fraction=request.val_fraction,
            test_fraction=request.test_fraction,
            max_per_class=request.max_per_class,
        )
    with clock.step("backbone", f"loading {request.backbone}"):
        device, reason = engine.choose_device(request.device)
        weights = backbones.RANDOM if request.strategy == "scratch" else request.weights
        torch.manual_seed(request.seed)  # random weights, where they are asked for
        backbone, facts = backbones.build(request.backbone, weights)
        side = facts.preprocess.side_px
        runtime = engine.make(backbone, device, side, len(splits.fitting) + len(splits.test))
        listener.note(f"{device} ({reason.text}), {runtime.runtime} ({runtime.reason.text})")
    with clock.step("features", f"one forward pass over {len(splits.fitting)} images"):
        paths = [root / s.path for s in splits.fitting]
        table = features.extract(paths, runtime, side, listener.progress)
    bad = [splits.fitting[i] for i, _ in table.faults]
    messages = [fault.message for _, fault in table.faults]
    if bad and request.on_bad_image == "error":
        raise DataError(
            f"{len(bad)} image(s) cannot be read: " + "; ".join(messages[:5]),
            hint="Repair or remove them, or use --on-bad-image skip.",
        )
    samples = tuple(splits.fitting[i] for i in table.kept)
    labels = np.array([s.label for s in samples], np.int64)
    _require_every_class(dataset, labels, len({s.digest for s in samples}))
    lost = {s.path for s in bad}
    return _Work(
        request=request,
        dataset=dataset,
        splits=replace(
            splits,
            train=tuple(s for s in splits.train if s.path not in lost),
            val=tuple(s for s in splits.val if s.path not in lost),
        ),
        backbone=backbone,
        facts=facts,
        device=device,
        runtime=runtime,
        table=table,
        samples=samples,
        labels=labels,
        fold=probe.folds(labels, [s.digest for s in samples]),
        findings=dataset.findings + data.copies(dataset.pool) + _unreadable(bad, messages),
        listener=listener,
    )


def _require_every_class(dataset: Dataset, labels: npt.NDArray[np.int64], distinct: int) -> None:
    counts = np.bincount(labels, minlength=len(dataset.classes))
    empty = [dataset.classes[i] for i in np.flatnonzero(counts == 0)]
    if empty:
        raise DataError(
            f"no readable training image of {', '.join(empty[:5])} in {dataset.root}",
            hint="Add images of it, or remove the class folder.",
        )
    if distinct < 2 * len(dataset.classes):
        raise DataError(
            f"{dataset.root} has {distinct} different training images for "
            f"{len(dataset.classes)} classes",
            hint="Give at least two per class; ten is a sensible least.",
        )


def _fit_probes(work: _Work, clock: _Clock, *, all_stages: bool) -> _Probes:
    """Cross-validate linear classifiers on the top features, each stage, and stages together."""
    with clock.step("probes", "cross-validating linear classifiers"):
        first = work.backbone.probed_top
        top = _cross_validate(work, TOP, (first,))
        if not all_stages:
            return _Probes(top, ())
        stages = work.backbone.stages
        candidates: dict[str, tuple[str, ...]] = {
            f"stage {s}" if s != "stem" else s: (s,) for s in stages
        }
        candidates |= {
            f"stages {'+'.join(stages[-2:])}": stages[-2:],
            f"stages {'+'.join(stages[-2:])}+top": (*stages[-2:], first),
            "all stages": (*stages, first),
        }
        others = []
        for i, (name, taps) in enumerate(candidates.items()):
            others.append(_cross_validate(work, name, taps))
            work.listener.progress(i + 1, len(candidates))
        return _Probes(top, tuple(others))


def _cross_validate(work: _Work, name: str, taps: tuple[str, ...]) -> probe.CrossValidation:
    rows = probe.ranking_sample(work.labels)
    blocks = _blocks(work.table, taps, rows)
    return probe.cross_validate(name, taps, blocks, work.labels[rows], work.fold[rows])


def _blocks(
    table: features.Table, taps: Sequence[str], rows: npt.NDArray[np.int64]
) -> probe.Blocks:
    spans, start = [], 0
    for tap in taps:
        width = table.layout[tap][1] - table.layout[tap][0]
        spans.append((start, start + width))
        start += width
    return probe.Blocks(features.select(table.rows[rows], table.layout, taps), tuple(spans))


def _decide(work: _Work, probes: _Probes) -> tuple[DatasetProfile, Recommendation]:
    """Measure the two axes, look up the table, resolve the plan."""
    request, classes = work.request, work.dataset.classes
    looks, why = profile.symbols(classes)
    sides = [
        min(shape)
        for s in work.samples[:: max(1, len(work.samples) // SIZE_SAMPLE)]
        if (shape := batches.size_of(Path(request.root) / s.path)) is not None
    ]
    lower = {
        c.score.name: c.right for c in probes.others if work.backbone.probed_top not in c.score.taps
    }
    measured = DatasetProfile(
        size=profile.size(work.labels, len(classes)),
        similarity=profile.similarity(probes.top.right, lower),
        median_side_px=int(np.median(sides)) if sides else None,
        symbols=looks,
        symbols_reason=why,
    )
    size = request.size or measured.size
    similarity = request.similarity or measured.similarity
    rule = strategy.rule_for(
        request.size or measured.size.verdict, request.similarity or measured.similarity.verdict
    )
    forced = None if request.strategy == "auto" else _named(request.strategy)
    chosen = forced or rule.strategy
    counts = np.bincount(work.labels)
    facts = strategy.Facts(
        images=len(work.samples),
        similarity=rule.similarity,
        stages=work.backbone.stages,
        side_px=work.facts.preprocess.side_px,
        fixed_side=_takes_one_size(work.backbone),
        batchnorm=work.facts.batchnorm,
        median_side_px=measured.median_side_px,
        symbols=looks,
        symbols_reason=why,
        rarest=int(counts.min()),
        commonest=int(counts.max()),
    )
    taps = {"stage-probe": probes.best.score.taps, "linear-probe": probes.top.score.taps}.get(
        chosen, (TOP,)
    )
    plan = strategy.resolve(chosen, facts, request.options, taps)
    return measured, strategy.recommend(size, similarity, plan, forced=forced)


def _named(name: str) -> Strategy:
    return next(s for s in strategy.STRATEGIES if s == name)


def _takes_one_size(backbone: Backbone) -> bool:
    return bool(dict(getattr(backbone.net, "pretrained_cfg", {})).get("fixed_input_size", False))


def _realise(work: _Work, probes: _Probes, advice: Recommendation, clock: _Clock) -> _Model:
    """Do what was decided; a tuned model that does not beat the best probe is not returned."""
    plan = advice.plan
    if plan.strategy not in strategy.TUNED:
        chosen = probes.top if plan.strategy == "linear-probe" else probes.best
        return _probe_model(work, chosen, plan.strategy)
    same_side = plan.side_px == work.facts.preprocess.side_px
    with clock.step("decode", f"decoding {len(work.samples)} images at {plan.side_px} px"):
        material = tune.prepare(
            [Path(work.request.root) / s.path for s in work.samples],
            plan,
            work.backbone,
            work.device,
            labels=work.labels,
            groups=[s.digest for s in work.samples],
            classes=len(work.dataset.classes),
            seed=work.request.seed,
            listener=work.listener,
            top=work.table.columns((TOP,)) if same_side else None,
        )
    inside = work.in_train
    enough = tune.TELLING_IMAGES if plan.strategy != "scratch" else 1
    split = work.dataset.val is not None or np.count_nonzero(~inside) >= enough
    halves = "" if split else " on halves"
    if not split:
        work.listener.note(
            f"fewer than {tune.TELLING_IMAGES} validation images cannot tell a better model from a "
            "luckier one: each half is judged by a model tuned on the other, without early stopping"
        )
    with clock.step("trial", f"{plan.strategy}: {plan.epochs} epochs at {plan.side_px} px{halves}"):
        if split:
            trial = tune.on_split(material, plan, np.flatnonzero(inside), np.flatnonzero(~inside))
        else:
            trial = tune.on_halves(material, plan)
    # `scratch` is for comparison only: there is no probe under it
    floor = None if plan.strategy == "scratch" else _floor(work, probes, trial)
    if floor is not None:
        work.listener.note(floor.reason)
        if floor.kept == "probe":
            name: Strategy = "linear-probe" if probes.best is probes.top else "stage-probe"
            history = trial.tuned.history if trial.tuned else ()
            return replace(_probe_model(work, probes.best, name), floor=floor, history=history)
    tuned = trial.tuned
    if tuned is None:
        with clock.step("tune", f"{plan.strategy} on all {len(work.samples)} images"):
            tuned = tune.on_everything(material, plan)
    return _tuned_model(work, plan, trial, tuned, floor)


def _tuned_model(
    work: _Work, plan: Plan, trial: tune.Trial, tuned: train.Tuned, floor: Floor | None
) -> _Model:
    """Calibrate on the held-out scores; they are also the estimate before the test."""
    labels = work.labels[trial.held]
    temperature = probe.fit_temperature(trial.scores, labels)
    probabilities = probe.probabilities(trial.scores, temperature)
    images = len(work.splits.test)
    return _Model(
        strategy=plan.strategy,
        backbone=tuned.backbone,
        runtime=engine.make(tuned.backbone, work.device, plan.side_px, images),
        head=replace(tuned.head, temperature=temperature),
        taps=(TOP,),
        side_px=plan.side_px,
        estimate=evaluate.measure(probabilities, labels, work.dataset.classes),
        estimate_source=trial.how,
        history=tuned.history,
        floor=floor,
    )


def _probe_model(work: _Work, chosen: probe.CrossValidation, name: Strategy) -> _Model:
    """Fit the head on every image that is not test; its estimate is the cross-validated one."""
    everything = np.arange(len(work.labels))
    blocks = _blocks(work.table, chosen.score.taps, everything)
    head = probe.refit(chosen, blocks, work.labels, len(work.dataset.classes))
    probabilities = probe.probabilities(chosen.scores, chosen.temperature)
    return _Model(
        strategy=name,
        backbone=work.backbone,
        runtime=work.runtime,
        head=head,
        taps=chosen.score.taps,
        side_px=work.facts.preprocess.side_px,
        estimate=evaluate.measure(probabilities, chosen.labels, work.dataset.classes),
        estimate_source=f"{probe.FOLDS}-fold cross-validation, which also chose the penalty",
    )


def _floor(work: _Work, probes: _Probes, trial: tune.Trial) -> Floor:
    """Compare on the held-out images: tuned models, and the best probe fitted on the same others.

    The probe's stage and penalty were chosen with the held-out images among the folds, which
    favours the probe a little: the safe side.
    """
    best, scores = probes.best, []
    for rows, held in trial.parts:
        blocks = _blocks(work.table, best.score.taps, rows)
        head = probe.refit(best, blocks, work.labels[rows], len(work.dataset.classes))
        scores.append(probe.score(head, _blocks(work.table, best.score.taps, held).rows))
    labels = work.labels[trial.held]
    calibrated = [
        probe.probabilities(s, probe.fit_temperature(s, labels))
        for s in (trial.scores, np.concatenate(scores))
    ]
    return evaluate.floor(calibrated[0], calibrated[1], labels, best.score.name, trial.how)


def _examine(
    work: _Work, model: _Model, clock: _Clock
) -> tuple[Metrics | None, tuple[Finding, ...]]:
    """Read the test images, once, and measure."""
    if not work.splits.test:
        return None, ()
    root = Path(work.request.root)
    with clock.step("test", f"testing on {len(work.splits.test)} images"):
        samples = [
            s if s.digest else replace(s, digest=data.digest_file(root / s.path))
            for s in work.splits.test
        ]
        table = features.extract(
            [root / s.path for s in samples], model.runtime, model.side_px, work.listener.progress
        )
        bad = [samples[i] for i, _ in table.faults]
        findings = _unreadable(bad, [fault.message for _, fault in table.faults])
        findings += data.leaks(work.splits.fitting, samples)
        if not len(table.kept):
            return None, findings
        scores = probe.score(_stored(model.head), table.columns(model.taps))
        labels = np.array([samples[i].label for i in table.kept], np.int64)
        probabilities = probe.probabilities(scores, model.head.temperature)
        return evaluate.measure(probabilities, labels, work.dataset.classes), findings


def _stored(head: probe.Head) -> probe.Head:
    """The head as the run keeps it, in float32, so that the test measures what is kept."""
    weight, bias = head.weight.astype(np.float32), head.bias.astype(np.float32)
    return probe.Head(weight.astype(np.float64), bias.astype(np.float64), head.temperature)


def _keep(
    path: Path,
    work: _Work,
    model: _Model,
    result: RunResult,
    measured: DatasetProfile,
    now: datetime,
) -> None:
    """Write the run folder."""
    known = result.test or model.estimate
    facts = RunFacts(
        created=now.isoformat(timespec="microseconds"),
        strategy=model.strategy,
        classes=work.dataset.classes,
        backbone=work.facts,
        preprocess=replace(work.facts.preprocess, side_px=model.side_px),
        head=HeadFacts(model.taps, model.head.temperature),
        plan=result.recommendation.plan,
        seed=work.request.seed,
        command=safe_name(work.request.command),
        data_root=safe_name(str(Path(work.request.root).resolve())),
        data_fingerprint=data.fingerprint(work.splits.fitting),
        versions=_versions(),
        accuracy=known.accuracy,
        accuracy_source=f"{known.n} test images" if result.test else model.estimate_source,
    )
    tensors = {n: t.cpu().numpy() for n, t in model.backbone.state().items()}
    head = _stored(model.head)
    runs.save(
        path,
        facts,
        result,
        tensors=runs.pack(tensors, head.weight.astype(np.float32), head.bias.astype(np.float32)),
        history=model.history,
        splits=work.splits,
        report=report.to_html(facts, result, measured, model.history, strategy.actions()),
    )


def _unreadable(samples: Sequence[Sample], messages: Sequence[str]) -> tuple[Finding, ...]:
    if not samples:
        return ()
    return (
        Finding(
            "FT120",
            "warning",
            f"{len(samples)} image(s) cannot be read and were left out: {messages[0]}",
            "Repair or remove them; --on-bad-image error stops instead.",
            tuple(s.path for s in samples),
        ),
    )


def _announce(request: Request, advice: Recommendation, listener: Listener) -> None:
    """Say what will be done and why, before it is done."""
    for reason in advice.reasons:
        listener.note(reason.text)
    if advice.warning and request.strategy == "auto":
        listener.note(advice.warning)
    plan = advice.plan
    unused = sorted(set(request.options) - {k for k, v in plan.why.items() if v == "user"})
    if unused:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
        listener.note(f"{given}: no effect, {plan.strategy} does not tune")
    if plan.strategy not in strategy.TUNED:
        return
    shown = ("tuned_stages", "side_px", "epochs", "batch_size", "optimiser", "lr")
    values = {name: getattr(plan, name) for name in shown} | {"flip": plan.augment.flip}
    values["tuned_stages"] = " ".join(plan.tuned_stages)
    for name, value in values.items():
        listener.note(f"{name.replace('_', ' ')} {value}: {plan.why[name]}")


def _counts(splits: Splits) -> dict[str, int]:
    return {"train": len(splits.train), "val": len(splits.val), "test": len(splits.test)}


def _versions() -> dict[str, str]:
    names = ("finetune", "torch", "timm", "numpy", "scipy", "pillow", "openvino")
    return {
        "python": platform.python_version(),
        **{n: importlib.metadata.version(n) for n in names},
    }
