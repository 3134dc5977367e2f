"""The strategies as models of labels or numbers, to be compared."""

from __future__ import annotations

from collections.abc import Mapping

from finetune.analysis import target_probes
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.decision import target_choice, target_model
from finetune.decision.target_model import TargetModel
from finetune.metrics import resampled
from finetune.records.analysis import DatasetProfile
from finetune.records.answers import Contender
from finetune.records.choices import LESS_IS_BETTER, TUNED, Strategy
from finetune.records.decision import Plan
from finetune.storage.arrays import Array
from finetune.workflows import begin, final_test


class TargetRivals:
    """Of several labels, or of numbers; they answer by themselves, as no two are blended."""

    def __init__(
        self, analysis: Analysis, strata: Probes, measured: DatasetProfile, clock: Clock
    ) -> None:
        """Fit the probes and see what `train` would try; held-out images then say what it keeps."""
        self._analysis, self._strata, self._measured = analysis, strata, measured
        self._probes = begin.target_probed(analysis, clock, all_stages=True)
        aim = self._probes.aim
        self.target = aim.kind
        self.metric, self._worth = aim.metric(analysis.options.decision.metric)
        # an error of one number is told in its own unit
        alone = self.metric in ("rmse", "mae") and aim.units[0].shape == (1,)
        self._unit = float(aim.units[0][0]) if alone else 1.0
        choice = target_choice.choose(analysis, strata, self._probes, measured, clock)
        self.rule, self.table, self.chosen = choice.rule.id, choice.rule.strategy, choice.strategy
        self.tested: dict[Strategy, Contender] = {}
        self._worths: dict[Strategy, float] = {}
        self._drawn: dict[Strategy, Array] = {}

    def plan(self, name: Strategy) -> Plan:
        """By the rules for this target."""
        return target_choice.tuning_plan(
            self._analysis, self._strata, self._probes, self._measured, name
        )

    def prove(self, name: Strategy, clock: Clock) -> None:
        """Train and test it; held-out images say whether `train` would keep it."""
        analysis = self._analysis
        model = self._trained(name, clock)
        if model.stopped is not None:
            raise model.stopped
        if name == self.chosen and model.floor is not None and model.floor.kept == "probe":
            self.chosen = self._probes.name
        found = final_test.ask(analysis, model, clock)
        final_test.require_any(analysis, len(found.samples))
        truth = target_probes.truth_of(found.samples)
        metrics = target_model.measured(analysis, model.facts, found.outputs, truth, found.groups)
        known = (self._comparable(found.outputs), self._comparable(truth))
        self._worths[name] = self._unit * self._worth(*known)
        self._drawn[name] = self._unit * resampled.scores(
            self._worth, known[:1], known[1], found.groups
        )
        self.tested[name] = Contender(
            name,
            log_loss=metrics.log_loss,
            seconds=clock.total()["total"],
            score=(-1 if self.metric in LESS_IS_BETTER else 1) * self._worths[name],
            measured=metrics,
        )

    def left_out(self, untried: Mapping[Strategy, str]) -> Mapping[Strategy, str]:
        """A blend, which mixes probabilities of classes."""
        del untried
        single = self._analysis.options.decision.single
        return {} if single else {"blend": "it is for classes, whose probabilities it mixes"}

    def lead(self, one: Strategy, other: Strategy) -> tuple[float, float]:
        """Both on the same draws of images, or of groups where images come in groups."""
        noise = resampled.noise(self._drawn[one], self._drawn[other])
        return self._worths[one] - self._worths[other], noise

    def _comparable(self, values: Array) -> Array:
        """Outputs or truth float64[M, K] as the aim has them: numbers in standard deviations."""
        by, start = self._probes.aim.units
        return values if self.target == "labels" else (values - start) / by

    def _trained(self, name: Strategy, clock: Clock) -> TargetModel:
        """To the letter, no floor under it."""
        if name not in TUNED:
            return target_model.probed(self._analysis, self._probes, name)
        from finetune.decision import target_tuning  # noqa: PLC0415 - torch, which takes seconds

        return target_tuning.to_the_letter(self._analysis, self._probes, self.plan(name), clock)
