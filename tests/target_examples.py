"""One example of every record of labels and numbers."""

from __future__ import annotations

from finetune.records.analysis import Reason
from finetune.records.answers import LabelAnswer
from finetune.records.dataset import Target
from finetune.records.decision import Plan
from finetune.records.robustness import TargetFall
from finetune.records.target import (
    LabelScore,
    NumberScore,
    TargetFacts,
    TargetFloor,
    TargetMetrics,
    TargetStage,
)
from finetune.records.target_result import FarAnswer, TargetEvaluation, TargetResult

TARGET = Target(kind="labels", names=("cat", "dög"), reason="cells of 'labels' hold ;")
LABEL_SCORE = LabelScore(
    name="cat", n=3, average_precision=0.875, precision=0.75, recall=1.0, f1=0.857, threshold=0.4
)
NUMBER_SCORE = NumberScore(
    name="angle", r2=0.75, mae=4.5, rmse=6.0, mean=10.0, deviation=12.0, baseline_mae=9.5
)
LABEL_METRICS = TargetMetrics(
    n=8,
    baseline=0.375,
    map=0.875,
    map_interval=(0.75, 0.97),
    micro_f1=0.8,
    macro_f1=0.75,
    exact=0.625,
    log_loss=0.25,
    per_label=(LABEL_SCORE,),
)
NUMBER_METRICS = TargetMetrics(
    n=8,
    baseline=9.5,
    r2=0.75,
    r2_interval=(0.5, 0.875),
    mae=4.5,
    mae_interval=(3.5, 5.5),
    rmse=6.0,
    rmse_interval=(5.0, 7.0),
    per_number=(NUMBER_SCORE,),
    groups=4,
)
TARGET_STAGE = TargetStage(
    name="top", taps=("top",), dimensions=1280, score=0.875, loss=0.25, penalty=0.1
)
TARGET_FLOOR = TargetFloor(
    kept="tuned",
    n=40,
    tuned_score=0.9,
    probe_score=0.8,
    difference=-0.05,
    noise=0.01,
    reason="The tuned model is kept",
)
LABEL_ANSWER = LabelAnswer(label="cat", probability=0.75, on=True)
TARGET_FACTS = TargetFacts(kind="labels", loss="bce", thresholds=(0.4, 0.5))
TARGET_FALL = TargetFall(
    kind="blur",
    strength=2,
    what="out of focus",
    images=8,
    metric="map",
    score=0.625,
    lost=0.25,
    error=0.125,
)
FAR_ANSWER = FarAnswer(path="a/1.png", truth="cat", answer="dög", loss=2.5)
TARGET_EVALUATION = TargetEvaluation(
    run="runs/labels",
    data="/data/new",
    target="labels",
    names=TARGET.names,
    metrics=LABEL_METRICS,
    findings=(),
    worst=(FAR_ANSWER,),
    better_than_baseline=True,
    verdict="better",
    robustness=(TARGET_FALL,),
)


def target_result(plan: Plan) -> TargetResult:
    """The answer of a training on two labels."""
    return TargetResult(
        run="runs/labels",
        target="labels",
        loss="bce",
        strategy=plan.strategy,
        requested_strategy="auto",
        names=TARGET.names,
        counts={"train": 24, "val": 8, "test": 8},
        test=LABEL_METRICS,
        estimate=LABEL_METRICS,
        estimate_source="40 images",
        stages=(TARGET_STAGE,),
        reasons=(Reason("target", "labels: cells hold ;"),),
        plan=plan,
        floor=TARGET_FLOOR,
        findings=(),
        seconds={"scan": 0.5},
        better_than_baseline=True,
        verdict="better",
        backbone="tf_efficientnet_lite0",
        worst=(FAR_ANSWER,),
    )
