"""The story of each command as a list of calls."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from finetune import (
    data,
    decide,
    evaluate,
    export,
    health,
    probe,
    realise,
    report,
    runs,
    strategy,
    survey,
)
from finetune.errors import UsageError, safe_name
from finetune.records import (
    Advice,
    Comparison,
    Contender,
    DatasetProfile,
    Expectation,
    HeadFacts,
    Listener,
    Recommendation,
    Request,
    RunFacts,
    RunResult,
    Splits,
    Strategy,
)
from finetune.survey import Clock, Probes, Survey

# A recommendation looks at no more: 4,000 tell the probe's accuracy to within one point.
RECOMMEND_IMAGES = 4000


def run_training(request: Request, listener: Listener) -> RunResult:
    """`finetune train`: look, decide, do it, prove it, keep it."""
    clock = Clock(listener)
    _check(request)
    now = datetime.now(UTC)
    # a place that is taken is told before the work, not after it
    runs.choose_folder(request.out, Path(request.root), request.strategy, now)
    seen, probes, measured = _survey(
        request, listener, clock, all_stages=request.strategy not in ("linear-probe", "scratch")
    )
    decision = decide.decide(seen, probes, measured, clock, trials=True)
    advice = decision.advice
    _announce(request, advice, listener)
    model = _realise(seen, probes, decision, clock)
    test = realise.examine(seen, model, clock) if seen.splits.test else None
    tested = test is not None and len(test.labels) > 0
    path = runs.choose_folder(request.out, Path(request.root), model.strategy, now.astimezone())
    with clock.step("save", "writing the run"):
        result = RunResult(
            run=safe_name(str(path)),
            strategy=model.strategy,
            requested_strategy=request.strategy,
            classes=seen.dataset.classes,
            counts=_counts(seen.splits),
            test=realise.metrics(seen, test) if test is not None and tested else None,
            estimate=model.estimate,
            estimate_source=model.estimate_source,
            stages=probes.table,
            recommendation=advice,
            floor=model.floor,
            findings=seen.findings
            + (() if test is None else test.findings)
            + health.late_findings(seen.examined, Path(request.root)),
            seconds={},
        )
        result = replace(result, seconds=clock.total())
        _keep(path, seen, model, result, measured, now)
    return replace(result, seconds=clock.total())


def run_recommendation(request: Request, listener: Listener) -> Advice:
    """`finetune recommend DIR`: the same looking and deciding, nothing trained."""
    clock = Clock(listener)
    _check(request)
    seen, probes, measured = _survey(
        request, listener, clock, all_stages=True, most=RECOMMEND_IMAGES
    )
    advice = decide.decide(seen, probes, measured, clock, trials=False).advice
    return Advice(
        recommendation=advice,
        profile=measured,
        stages=probes.table,
        expected=_expected(probes),
        looked_at=len(seen.samples),
        counts=_counts(seen.splits),
        findings=seen.findings,
        seconds=clock.total(),
    )


def run_comparison(request: Request, listener: Listener) -> Comparison:
    """`finetune compare DIR`: every strategy on one split, and what the table's choice cost."""
    clock = Clock(listener)
    _check(request)
    seen, probes, measured = _survey(request, listener, clock, all_stages=True)
    if not seen.splits.test:
        raise UsageError(
            "nothing to compare on: --test-fraction is 0", hint="Leave out --test-fraction."
        )
    advice = decide.decide(seen, probes, measured, clock, trials=True).advice
    tests: dict[Strategy, realise.Test] = {}
    seconds: dict[Strategy, float] = {}
    for name in strategy.TRANSFERS:
        part = Clock(listener)
        model = _plainly(seen, probes, measured, name, part)
        tests[name] = realise.examine(seen, model, part)
        seconds[name] = part.total()["total"]
    return _compared(seen, measured, advice, tests, seconds, clock.total())


def _check(request: Request) -> None:
    if request.strategy != "auto":
        strategy.named(request.strategy)
    strategy.check(request.options)
    scratch = request.strategy == "scratch"
    if request.backbone == "lenet5" and not scratch and request.weights is None:
        raise UsageError(
            "lenet5 has no pretrained weights",
            hint="Use --strategy scratch, or --weights FILE with your own.",
        )


def _survey(
    request: Request,
    listener: Listener,
    clock: Clock,
    *,
    all_stages: bool,
    most: int | None = None,
) -> tuple[Survey, Probes, DatasetProfile]:
    seen = survey.look(request, listener, clock, most)
    probes = survey.fit_probes(seen, clock, all_stages=all_stages)
    measured = survey.measure(seen, probes, clock)
    return replace(seen, findings=seen.findings + survey.overlap(seen)), probes, measured


def _expected(probes: Probes) -> tuple[Expectation, ...]:
    """What the two probes will do on new images; one line where they are the same."""
    found: dict[Strategy, probe.LeftOut] = {"linear-probe": probes.top, probes.name: probes.best}
    return tuple(
        Expectation(
            name,
            left.score.accuracy,
            evaluate.wilson(int(left.right.sum()), len(left.right)),
            len(left.right),
        )
        for name, left in found.items()
    )


def _realise(
    seen: Survey, probes: Probes, decision: decide.Decision, clock: Clock
) -> realise.Model:
    """Do what was decided."""
    plan = decision.advice.plan
    if plan.strategy in strategy.TUNED:
        lead = decision.advice.lead
        from finetune import trials  # noqa: PLC0415 - torch, which takes seconds

        return trials.tuned(
            *(seen, probes, plan, clock),
            made=decision.made,
            proof=decision.proof,
            handicap=0.0 if lead is None else lead.handicap,
        )
    return realise.probed(seen, probes.of(plan.strategy), plan.strategy)


def _plainly(
    seen: Survey, probes: Probes, measured: DatasetProfile, name: Strategy, clock: Clock
) -> realise.Model:
    """A strategy to the letter: no floor under it."""
    if name in strategy.TUNED:
        from finetune import trials  # noqa: PLC0415 - torch, which takes seconds

        plan = survey.plan_for(seen, measured, probes, name)
        return trials.tuned(seen, probes, plan, clock, guarded=False)
    return realise.probed(seen, probes.of(name), name)


def _compared(
    seen: Survey,
    measured: DatasetProfile,
    advice: Recommendation,
    tests: dict[Strategy, realise.Test],
    seconds: dict[Strategy, float],
    total: dict[str, float],
) -> Comparison:
    """Accuracies with paired differences to the table's choice, and the sentence that says it."""
    rows = []
    base = tests[advice.table]
    for name, test in tests.items():
        found = realise.metrics(seen, test)
        gain, noise, _, _ = evaluate.lead(test.probabilities, base.probabilities, test.labels)
        half = 0.0 if name == advice.table else evaluate.Z95 * noise
        rows.append(
            Contender(
                *(name, found.accuracy, found.interval, found.log_loss),
                *(gain, gain - half, gain + half, seconds[name]),
            )
        )
    best = max(rows, key=lambda c: (c.accuracy, -c.log_loss))
    taken = next(c for c in rows if c.strategy == advice.strategy)
    verdict = (
        f"The table said {advice.table}, best was {best.strategy}: the table cost "
        f"{100 * best.difference:.1f} points (95 % interval {100 * best.low:.1f} to "
        f"{100 * best.high:.1f}). The measured policy takes {taken.strategy}: "
        f"{100 * (best.accuracy - taken.accuracy):.1f} points below the best."
    )
    return Comparison(
        data=safe_name(seen.request.root),
        rule=advice.rule,
        table=advice.table,
        chosen=advice.strategy,
        best=best.strategy,
        contenders=tuple(rows),
        profile=measured,
        counts=_counts(seen.splits),
        findings=seen.findings,
        verdict=verdict,
        seconds=total,
    )


def _keep(
    path: Path,
    seen: Survey,
    model: realise.Model,
    result: RunResult,
    measured: DatasetProfile,
    now: datetime,
) -> None:
    """Write the run folder."""
    known = result.test or model.estimate
    facts = RunFacts(
        created=now.isoformat(timespec="microseconds"),
        strategy=model.strategy,
        classes=seen.dataset.classes,
        backbone=seen.facts,
        preprocess=replace(seen.facts.preprocess, side_px=model.side_px),
        head=HeadFacts(model.taps, model.head.temperature),
        plan=result.recommendation.plan,
        seed=seen.request.seed,
        command=safe_name(seen.request.command),
        data_root=safe_name(str(Path(seen.request.root).resolve())),
        data_fingerprint=data.fingerprint(seen.splits.fitting),
        versions=_versions(),
        accuracy=known.accuracy,
        accuracy_source=f"{known.n} test images" if result.test else model.estimate_source,
    )
    head = realise.stored(model.head)
    network, why = None, "it was trained on a GPU"
    if seen.body.device == "cpu":
        network, why = export.inference_file(
            model.graph, head, model.taps, model.side_px, model.runtime
        )
    if network is None:
        seen.listener.note(f"no inference file, predictions will need torch: {why}")
    runs.save(
        path,
        facts,
        result,
        tensors=runs.pack(
            model.tensors(), head.weight.astype(np.float32), head.bias.astype(np.float32)
        ),
        history=model.history,
        splits=seen.splits,
        report=report.to_html(facts, result, measured, model.history, strategy.actions()),
        network=network,
    )


def _announce(request: Request, advice: Recommendation, listener: Listener) -> None:
    """Say what will be done and why, before it is done."""
    for reason in advice.reasons:
        listener.note(reason.text)
    for forecast in advice.forecasts:
        if forecast.strategy == advice.strategy:
            listener.note(f"{forecast.strategy}: {forecast.text}")
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
