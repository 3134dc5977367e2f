"""The story of `train`: look, decide, do it, prove it, keep it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from finetune.analysis import label_issues
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.backbones import ranks
from finetune.decision import choose, fitted
from finetune.records import option_table
from finetune.records.analysis import DatasetProfile
from finetune.records.backbone_choice import AUTO, OF_A_CHOICE, BackboneChoice
from finetune.records.choices import TUNED
from finetune.records.decision import Forecast, Recommendation
from finetune.records.errors import LostRankError, RunError, TrainingError, cause
from finetune.records.events import Listener, Silent
from finetune.records.file_names import MODEL
from finetune.records.options import Options, Request, flat, resolved
from finetune.records.run import RunResult
from finetune.records.target_result import TargetResult
from finetune.runs import resume, run_folder
from finetune.runs.resume import Progress
from finetune.runs.same import differences
from finetune.sources import files
from finetune.storage import atomic_files
from finetune.workflows import begin, final_test, keep, old_answers, writing
from finetune.workflows.faults import OLD_UNKNOWN
from finetune.workflows.train_target import TargetTraining

# Options with which a repetition has other images or weights anyway.
_OTHER_IMAGES = tuple(
    f"{option_table.flag(name)} "
    for name in (
        *("seed", "max_per_class", "val_fraction", "test_fraction", "group", "near_copies"),
        *("backbone", "weights", "start_from"),
    )
)


def run_training(
    options: Options, listener: Listener, like: Path | None = None
) -> RunResult | TargetResult:
    """`finetune train`: look, decide, do it, prove it, keep it.

    Args:
        options: What the user wants.
        listener: Hears of progress.
        like: A run that this one repeats (`repetition`): it decides as that one did, and what
            differs is told.

    Returns:
        What was kept; where Ctrl-C or a loss that is no number ended the training, the best that
        was proved by then, and `stopped` says so.

    Raises:
        KeyboardInterrupt: before there was anything to keep.
    """
    begin.check_options(options)
    with (
        resume.opened(options, run_folder.HOME, listener) as progress,
        ranks.joined(options.backbone.device),
    ):
        earlier = progress.earlier
        if ranks.agreed(earlier is not None and earlier.stopped is None):
            assert earlier is not None
            listener.note(
                f"{earlier.run} is finished ({resume.summary(earlier)}): there is nothing left to "
                "resume"
            )
            progress.over = True
            return earlier
        return _trained(options, listener, progress, like)


def help_training(options: Options, like: Path | None = None) -> None:
    """The same work by another process that `torchrun` started, which keeps and tells nothing.

    Args:
        options: As for `run_training`.
        like: As there.
    """
    with tempfile.TemporaryDirectory(prefix="finetune-rank-") as home:
        aside = replace(options.output, out=f"{home}/run", resume=False)
        options = replace(options, output=aside)
        with (
            resume.opened(options, Path(home), Silent()) as progress,
            ranks.joined(options.backbone.device),
        ):
            progress.over = True
            if not ranks.agreed(False):
                training, _ = _begun(options, Silent(), progress, like)
                training.work()


def repetition(run: Path, options: Options, given: Collection[str] = ()) -> Options:
    """What to ask for to get a run once more, or with other options.

    Args:
        run: The run folder.
        options: Where to put the new one, and perhaps where the images lie now.
        given: Names of the options, as they are kept, that are not taken from the run.

    Raises:
        RunError: no run, or one of a version that did not record it.
    """
    facts = run_folder.load_facts(run)
    if facts.request is None:
        raise RunError(
            f"{run} does not say what was asked for: it is of an older version",
            hint=f"Give its options yourself; it was made by: {facts.command}",
        )
    request = flat(options)
    known = {f.name for f in fields(Request)} - {"root", "out", "resume", "command", "options"}
    free = () if request.backbone == AUTO or "backbone" not in given else OF_A_CHOICE
    overrides = {name: value for name, value in request.options.items() if name in given}
    return resolved(
        replace(
            facts.request,
            **{name: getattr(request, name) for name in {*given, *free} & known},
            root=request.root or facts.request.root,
            out=request.out,
            resume=request.resume,
            command=request.command,
            options={**facts.request.options, **overrides},
        )
    )


def _carried_out(
    analysis: Analysis, probes: Probes, decision: choose.Decision, clock: Clock
) -> fitted.FittedModel:
    """Do what was decided."""
    plan = decision.advice.plan
    if plan.strategy in TUNED:
        lead = decision.advice.lead
        from finetune.decision import baseline, blend  # noqa: PLC0415 - torch, which takes seconds

        return baseline.tuned(
            analysis,
            probes,
            plan,
            clock,
            made=decision.made,
            proof=decision.proof,
            allowed=0.0 if lead is None else lead.allowed,
            blends=blend.allowed(analysis.options.decision),
        )
    return fitted.probed(analysis, probes.of(plan.strategy), plan.strategy)


def _trained(
    options: Options, listener: Listener, progress: Progress, like: Path | None
) -> RunResult | TargetResult:
    """The training itself, with its progress in hand."""
    training, repeated = _begun(options, listener, progress, like)
    resumable = False
    try:
        training.work()
        ranks.left()
        result: RunResult | TargetResult = training.keep(None)
    except (KeyboardInterrupt, TrainingError) as fault:
        ranks.left()
        # the same steps would lead to the same loss that is no number: that is nothing to resume
        resumable = isinstance(fault, KeyboardInterrupt | LostRankError)
        if isinstance(fault, LostRankError):  # torchrun may end this process before all is kept
            listener.note(fault.message)
        listener.note("keeping the best that is proved; Ctrl-C once more ends at once")
        result = training.keep(fault)
    progress.over = result.stopped is None or not resumable
    if like is not None and repeated:
        _tell_whether_same(like, Path(result.run), listener)
    return result


def _begun(
    options: Options, listener: Listener, progress: Progress, like: Path | None
) -> tuple[_Training | TargetTraining, bool]:
    """The data analyzed, so that it can be decided; and whether a run is repeated as it was."""
    clock = Clock(listener)
    now = datetime.now(UTC)
    # a place that is taken is told before the work, not after it
    strategy = options.decision.strategy
    writing.place_of(options, progress, strategy, now)
    try:
        analysis, probes, measured = begin.analyzed(
            options,
            listener,
            clock,
            all_stages=strategy not in ("linear-probe", "scratch"),
            known=ranks.agreed(progress.begun.backbone_choice or _choice_of(like, options)),
        )
    except KeyboardInterrupt:
        listener.note("interrupted before there was anything to keep, or to resume")
        raise
    if analysis.choice is not None:
        progress.keep_choice(analysis.choice)
    progress.settle(analysis.splits, analysis.facts.digest, begin.versions())
    repeated = like is not None and _follow(like, analysis, progress)
    analysis = replace(analysis, progress=progress)
    if analysis.dataset.target is not None:
        known = (analysis, probes, measured, progress, clock, now)
        return TargetTraining(*known), repeated
    labels = label_issues.of_training(analysis, probes, clock)
    began = None if analysis.choice is None else analysis.choice.start
    keeper = keep.Keeper(analysis, probes, measured, progress, clock, now, labels, began)
    return _Training(analysis, probes, measured, keeper), repeated


@dataclass
class _Training:
    """A training under way: whatever is known of it so far can be kept."""

    analysis: Analysis
    probes: Probes
    measured: DatasetProfile
    keeper: keep.Keeper
    advice: Recommendation | None = None
    model: fitted.FittedModel | None = None
    test: final_test.Test | None = None

    def work(self) -> None:
        """Decide, do it, prove it; raises what ended the training before its time."""
        analysis, probes, clock = self.analysis, self.probes, self.keeper.clock
        decision = choose.decide(analysis, probes, self.measured, clock, trials=True)
        self.advice = decision.advice
        _announce(analysis.options, self.advice, analysis.listener)
        self.model = _carried_out(analysis, probes, decision, clock)
        if self.model.stopped is not None:
            raise self.model.stopped
        if analysis.splits.test:
            self.test = test = self.keeper.test(self.model)
            old = self.keeper.writer.attempt(
                OLD_UNKNOWN, lambda: old_answers.measured(analysis, test, clock)
            )
            self.keeper.start = old or self.keeper.start

    def keep(self, fault: BaseException | None) -> RunResult | TargetResult:
        """Write the run: the model that was made, or the best probe where none was made yet."""
        analysis, probes = self.analysis, self.probes
        earlier = self.keeper.progress.earlier
        if fault is not None and earlier is not None and earlier.stopped is None:
            return earlier  # all was written when Ctrl-C came
        model = self.model or fitted.probed(analysis, probes.best, probes.name)
        advice = self.advice or choose.undecided(analysis, probes, self.measured)
        if model.plan is not None:
            advice = replace(advice, plan=model.plan)
        return self.keeper.keep(model, advice, self.test, fault)


def _follow(like: Path, analysis: Analysis, progress: Progress) -> bool:
    """Decide as a run did, by its forecasts, and tell what is not as it was then.

    Returns:
        Whether the same was asked for.
    """
    facts, then = run_folder.load_facts(like), _forecasts(like)
    other = [] if facts.request is None else differences(facts.request, flat(analysis.options))
    if then and progress.begun.forecasts is None and not other:
        progress.keep_forecasts(then)
    now = begin.versions()
    differing = other + [
        f"{name} was {facts.versions.get(name, 'not there')} and is {version}"
        for name, version in now.items()
        if facts.versions.get(name) != version
    ]
    same = not any(text.startswith(_OTHER_IMAGES) for text in other)
    if same and files.fingerprint(analysis.splits.fitting) != facts.data_fingerprint:
        differing.append("the images are others")
    if same and analysis.facts.digest != facts.backbone.digest:
        differing.append("the backbone's weights are others")
    if differing:
        analysis.listener.note(
            f"not as for {like}, so the numbers may differ: {'; '.join(differing)}"
        )
    return not other


def _forecasts(run: Path) -> tuple[Forecast, ...]:
    """What the decision of a run rested on; of labels and numbers nothing that is kept."""
    if run_folder.load_facts(run).target is not None:
        return ()
    return run_folder.load_result(run).recommendation.forecasts


def _choice_of(like: Path | None, options: Options) -> BackboneChoice | None:
    """The backbone that a run had chosen, where the same is to be chosen among."""
    facts = None if like is None else run_folder.load_facts(like)
    if facts is None or facts.request is None:
        return None
    asked = flat(options)
    same = ("backbone", "weights", "start_from", *OF_A_CHOICE)
    if any(getattr(facts.request, name) != getattr(asked, name) for name in same):
        return None
    return facts.backbone_choice


def _tell_whether_same(like: Path, run: Path, listener: Listener) -> None:
    try:
        one, two = (atomic_files.digest_file(p / MODEL) for p in (like, run))
    except OSError as error:  # the new run is whole all the same
        listener.note(f"{run} cannot be compared with {like}: {cause(error)}")
        return
    same = "the same model, bit for bit, as" if one == two else "not the same model as"
    listener.note(f"{run} is {same} {like}")


def _announce(options: Options, advice: Recommendation, listener: Listener) -> None:
    """Say what will be done and why, before it is done."""
    for reason in advice.reasons:
        listener.detail(reason.text)
    for forecast in advice.forecasts:
        if forecast.strategy == advice.plan.strategy:  # of a blend that of its tuned part
            listener.detail(f"{forecast.strategy}: {forecast.text}")
    if advice.warning and options.decision.strategy == "auto":
        listener.detail(advice.warning)
    plan = advice.plan
    used = {name for name, why in plan.why.items() if why == "user"}
    unused = sorted(options.training.overrides.keys() - used)
    if unused:
        given = ", ".join(option_table.flag(name) for name in unused)
        listener.note(f"{given}: no effect, {plan.strategy} does not tune")
    if plan.strategy not in TUNED:
        return
    shown = ("tuned_stages", "side_px", "epochs", "batch_size", "optimiser", "lr")
    values = {name: getattr(plan, name) for name in shown}
    values |= {"flip": plan.augment.flip, "vflip": plan.augment.vflip}
    values["tuned_stages"] = " ".join(plan.tuned_stages)
    for name, value in values.items():
        listener.detail(f"{option_table.spoken(name)} {value}: {plan.why[name]}")
