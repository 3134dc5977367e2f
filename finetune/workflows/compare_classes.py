"""The strategies as models of classes, to be compared."""

from __future__ import annotations

from collections.abc import Mapping

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.decision import choose, fitted
from finetune.decision.planning import plan_for
from finetune.metrics import paired
from finetune.records.analysis import DatasetProfile
from finetune.records.answers import Contender
from finetune.records.choices import TUNED, Metric, Strategy, spoken
from finetune.records.decision import Plan
from finetune.workflows import final_test


class ClassRivals:
    """Of one class each; a blend comes of the way of tuning that is expected to do best."""

    target = None

    def __init__(
        self, analysis: Analysis, probes: Probes, measured: DatasetProfile, clock: Clock
    ) -> None:
        """Decide first, as `train` would, with short trials of tuning."""
        self._analysis, self._probes, self._measured = analysis, probes, measured
        advice = choose.decide(analysis, probes, measured, clock, trials=True).advice
        self.rule, self.table, self.chosen = advice.rule, advice.table, advice.strategy
        self.tested: dict[Strategy, Contender] = {}
        self._tests: dict[Strategy, final_test.Test] = {}
        single = analysis.options.decision.single
        self._blended = None if single else choose.candidate(analysis, probes, measured, clock)

    @property
    def metric(self) -> Metric:
        """As the user says, or by the classes' shares."""
        return self._analysis.options.decision.judged_by

    def plan(self, name: Strategy) -> Plan:
        """By the rules."""
        return plan_for(self._analysis, self._measured, self._probes, name)

    def prove(self, name: Strategy, clock: Clock) -> None:
        """Train and test it; what was tuned for the one serves a blend, too."""
        model, blend = self._trained(name, clock)
        if model.stopped is not None:
            raise model.stopped
        self._test(name, model, clock)
        if name == self._blended and blend is not None:
            self._test("blend", blend, clock)

    def left_out(self, untried: Mapping[Strategy, str]) -> Mapping[Strategy, str]:
        """A blend, where a part of it is missing."""
        if self._blended is None or self._blended not in untried:
            return {}
        return {"blend": f"{spoken(self._blended)}, a part of it, has no figures"}

    def lead(self, one: Strategy, other: Strategy) -> tuple[float, float]:
        """Paired by image, or by groups where images come in groups."""
        mine, theirs = self._tests[one], self._tests[other]
        by = self._analysis.yardstick_of(mine.labels, mine.groups)
        return paired.difference(mine.probabilities, theirs.probabilities, mine.labels, by)

    def _trained(
        self, name: Strategy, clock: Clock
    ) -> tuple[fitted.FittedModel, fitted.FittedModel | None]:
        """To the letter, no floor under it; a tuned model also as a part of a blend."""
        if name not in TUNED:
            return fitted.probed(self._analysis, self._probes.of(name), name), None
        from finetune.decision import baseline  # noqa: PLC0415 - torch, which takes seconds

        return baseline.to_the_letter(self._analysis, self._probes, self.plan(name), clock)

    def _test(self, name: Strategy, model: fitted.FittedModel, clock: Clock) -> None:
        analysis = self._analysis
        test = self._tests[name] = final_test.examine(analysis, model, clock)
        final_test.require_any(analysis, len(test.labels))
        found = final_test.measured(analysis, test)
        by = analysis.yardstick_of(test.labels, test.groups)
        self.tested[name] = Contender(
            name,
            found.accuracy,
            found.interval,
            found.log_loss,
            seconds=clock.total()["total"],
            score=paired.value(test.probabilities, test.labels, by),
        )
