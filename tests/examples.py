"""One example of every record, which together make up one run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from target_examples import (
    FAR_ANSWER,
    LABEL_ANSWER,
    LABEL_METRICS,
    LABEL_SCORE,
    NUMBER_SCORE,
    TARGET,
    TARGET_EVALUATION,
    TARGET_FACTS,
    TARGET_FALL,
    TARGET_FLOOR,
    TARGET_STAGE,
    target_result,
)

from finetune.records.analysis import (
    CurvePoint,
    DatasetProfile,
    Part,
    Reason,
    SimilarityProfile,
    SizeProfile,
    StageScore,
    Upright,
)
from finetune.records.anatomy import Anatomy, StageRow
from finetune.records.answers import (
    Advice,
    CacheUsage,
    ClassProbability,
    Comparison,
    Contender,
    Evaluation,
    Expectation,
    Exported,
    Health,
    Int8,
    Prediction,
    Reported,
)
from finetune.records.backbone import (
    BackboneFacts,
    BackboneRow,
    Box,
    Fetched,
    NormLayer,
    Origin,
    PreparedFacts,
    Preprocess,
    Variant,
)
from finetune.records.backbone_choice import BackboneChoice, Candidate
from finetune.records.dataset import Check, Dataset, Finding, Sample, Scale, Splits
from finetune.records.decision import (
    Augment,
    Beyond,
    Forecast,
    Gain,
    Plan,
    Recommendation,
    TrialResult,
)
from finetune.records.explanation import EvidenceBox, Explanation
from finetune.records.labels import LabelIssues, Suggestion, Suggestions, SuspectLabel
from finetune.records.material import (
    Answered,
    CloseCall,
    ExpectedError,
    HeatMap,
    ImageMap,
    MapPoint,
    Material,
    Reliability,
    SureAnswer,
)
from finetune.records.metrics import (
    AtShares,
    Baseline,
    ClassMetrics,
    Metrics,
    Standing,
    WrongAnswer,
)
from finetune.records.options import Request, resolved
from finetune.records.robustness import Fall
from finetune.records.run import (
    BlendPart,
    HeadFacts,
    RunFacts,
    RunResult,
    RunRow,
    SharesFacts,
    Stop,
)
from finetune.records.sharding import FeaturesMade, Shard, ShardImages
from finetune.records.start import OldAnswers, OldScore, StartFacts
from finetune.records.training import Begun, EpochRecord, FitProgress
from finetune.records.unsure import (
    ConfidenceRow,
    DistanceRow,
    Doubt,
    DoubtOptions,
    Selected,
    SetRow,
    UnknownFacts,
)

CLASSES = ("ash", "bäy & co")
SAMPLE = Sample("ash/1.png", 0, "d1")
FINDING = Finding("FT110", "note", "2 exact copies", "Remove them.", ("ash/1.png", "ash/2.png"))
CHECK = Check(
    *("FT122", "images of another format than their suffix", "note", "1 of 3 images", "Nothing."),
    numbers={"images": 1},
    paths=("ash/1.png",),
    details=("is JPEG",),
)
SPLITS = Splits((SAMPLE,), (Sample("ash/2.png", 0, "d2"),), (Sample("bäy & co/3.png", 1, ""),))
SCALE = Scale("16-bit", 300.0, 4000.0, 38, "16-bit pictures: 300 is black")
PREPROCESS = Preprocess(224, (0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
BACKBONE = BackboneFacts(
    name="tf_efficientnet_lite0",
    weights="a package 0.1.0",
    licence="Apache-2.0",
    preprocess=PREPROCESS,
    stages=("stem", "1"),
    parameters=12345,
    batchnorm=True,
    digest="ab12",
)
STAGES = (
    StageScore("stage 1", ("1",), 96, 0.5, 0.9, 0.1, 0.05),
    StageScore("top", ("top",), 1280, 0.8125, 0.5, 0.01, 0.04),
)
AUGMENT = Augment(crop=0.6, flip=0.5, rotation_deg=10.0, translation=0.05, stretch=0.15, colour=0.2)
PLAN = Plan(
    strategy="partial",
    taps=("top",),
    tuned_stages=("1",),
    side_px=128,
    epochs=20,
    batch_size=16,
    optimiser="adamw",
    lr=3e-4,
    head_lr=9e-4,
    stage_decay=0.8,
    weight_decay=0.01,
    warmup=0.1,
    patience=6,
    label_smoothing=0.1,
    dropout=0.1,
    class_weights=False,
    augment=AUGMENT,
    why={"lr": "measured for the tests", "epochs": "user"},
)
REASONS = (
    Reason("size", "1200 images to learn from"),
    Reason("similarity", "the parts say similar"),
    Reason("T3", "fine-tune a few layers"),
)
LEAD = Gain(prior=0.0, prior_spread=0.06, mean=0.031, spread=0.02)
TRIAL = TrialResult(
    strategy="deep",
    learnt_from=600,
    judged_on=600,
    side_px=128,
    epochs=5,
    gain=0.04,
    noise=0.015,
    seconds=33.5,
)
FORECASTS = (
    Forecast(
        strategy="linear-probe",
        side_px=224,
        seconds=1.5,
        fits=True,
        text="about 2 s: 8 test images to read; the budget is 60 s",
    ),
    Forecast(
        strategy="deep",
        side_px=128,
        seconds=99.0,
        fits=False,
        text="about 99 s: 900 steps of 16 images; the budget is 60 s",
    ),
)
RECOMMENDATION = Recommendation(
    strategy="partial",
    policy="measured",
    rule="T3",
    table="partial",
    size="large",
    similarity="similar",
    reasons=REASONS,
    flips=("were the data small: linear-probe",),
    warning=None,
    plan=PLAN,
    lead=LEAD,
    trials=(TRIAL,),
    forecasts=FORECASTS,
)
CURVE = (CurvePoint(200, 0.3), CurvePoint(400, 0.25), CurvePoint(800, 0.1875))
PARTS = (
    Part("BatchNorm drift", 0.75, 0.6, 0.4, "similar", "1 - drift / that of noise"),
    Part("ImageNet confidence", 0.5, None, None, "uncertain", "shown only"),
    Part("stage profile", None, None, 2.0, "uncertain", "gain of the best lower stage"),
)
PROFILE = DatasetProfile(
    size=SizeProfile("large", 1200, 500, 2, CURVE, "representation", REASONS[0]),
    similarity=SimilarityProfile(
        "uncertain", "similar", PARTS, {"stem": 0.25, "1": 0.5}, 0.125, REASONS[1]
    ),
    median_side_px=100,
    symbols=False,
    symbols_reason="ordinary names",
)
HISTORY = (
    EpochRecord(1, 0.9, 0.8, 0.75, 3e-4, 1.5, True),
    EpochRecord(2, 0.7, 0.85, 0.75, 1e-4, 1.25, False),
)
METRICS = Metrics(
    n=8,
    accuracy=0.875,
    interval=(0.529, 0.978),
    balanced_accuracy=0.9,
    macro_f1=0.85,
    log_loss=0.3,
    calibration_error=0.0625,
    majority_baseline=0.625,
    per_class=(ClassMetrics("ash", 5, 1.0, 0.8, 0.89), ClassMetrics("bäy & co", 3, None, 0.0, 0.0)),
    confusion=((4, 1), (0, 3)),
)
WRONG = WrongAnswer("bäy & co/3.png", "bäy & co", "ash", 0.625)
FLOOR = Baseline("tuned", 40, 0.9, 0.8, 0.3, 0.5, "on 40 images: tuned model kept")
SUSPECT = SuspectLabel(
    path="ash/1.png",
    given="ash",
    suggested="bäy & co",
    given_probability=0.02,
    suggested_probability=0.98,
    margin=-0.96,
    agreeing=9,
    compared=10,
    neighbors=("bäy & co/3.png",),
)
LABELS = LabelIssues(
    images=300,
    found=1,
    suspects=(SUSPECT,),
    probe="stage 1",
    accuracy=0.875,
    text="1 of 300 labels looks wrong.",
)
RESULT = RunResult(
    run="runs/one",
    strategy="partial",
    requested_strategy="auto",
    classes=CLASSES,
    counts={"train": 900, "val": 300, "test": 8},
    test=METRICS,
    estimate=METRICS,
    estimate_source="300 validation images",
    stages=STAGES,
    recommendation=RECOMMENDATION,
    floor=FLOOR,
    findings=(FINDING,),
    seconds={"scan": 0.5, "total": 12.0},
    labels=LABELS,
)
STOP = Stop("interrupted: kept is partial", "Give the same command with --resume.", 130)
REQUEST = Request(
    root="/data/trees",
    policy="table",
    budget_s=90.5,
    options={"epochs": 3, "lr": 0.5, "flip": 0, "optimiser": "sgd"},
)
OPTIONS = resolved(REQUEST)
ROW = ConfidenceRow(
    min_confidence=0.75, answered=0.8125, error=0.0625, interval=(0.03, 0.125), bound=0.07
)
SET_ROW = SetRow(coverage=0.9, min_probability=0.125)
DISTANCE_ROW = DistanceRow(refused=0.05, distance=1.25)
UNKNOWN = UnknownFacts(start=0, stop=1280, images=300, rows=(DISTANCE_ROW,))
DOUBT = Doubt(
    images=300,
    source="300 validation images",
    confidence=(ROW,),
    sets=(SET_ROW,),
    unknown=UNKNOWN,
)
SELECTED = Selected(
    min_confidence=0.75,
    answered=0.75,
    unsure=0.125,
    unknown=0.125,
    accuracy=1.0,
    interval=(0.6, 1.0),
    covered=0.875,
    covered_interval=(0.529, 0.978),
    set_size=1.5,
    reasons=("as 300 held-out images say",),
)
FACTS = RunFacts(
    created="2026-01-02T03:04:05.000006+00:00",
    strategy="partial",
    classes=CLASSES,
    backbone=BACKBONE,
    preprocess=PREPROCESS,
    head=HeadFacts(("top",), 1.25),
    plan=PLAN,
    seed=0,
    command="finetune train trees",
    data_root="/data/trees",
    data_fingerprint="cd34",
    versions={"python": "3.11", "torch": "2.6"},
    accuracy=0.875,
    accuracy_source="8 test images",
    request=REQUEST,
    doubt=DOUBT,
)

SHARES = SharesFacts(
    asked="uniform",
    metric="balanced-accuracy",
    trained={"ash": 0.75, "bäy & co": 0.25},
    wanted={"ash": 0.5, "bäy & co": 0.5},
    shift={"ash": -0.5, "bäy & co": 0.5},
    reason="you asked for it",
)
EXPECTED = (Expectation("stage-probe", 0.8125, (0.7, 0.9), 160),)
CONTENDER = Contender(
    *("partial", 0.875, (0.529, 0.978), 0.3, 0.0, 0.0, 0.0, 10.5),
    score=0.875,
    behind=0.0625,
    noise=0.06,
    tied=True,
)
COMPARISON = Comparison(
    data="/data/trees",
    rule="T3",
    table="partial",
    chosen="partial",
    best="deep",
    contenders=(
        CONTENDER,
        Contender("deep", 0.9375, (0.6, 0.99), 0.25, 0.0625, -0.05, 0.175, 20.0),
    ),
    profile=PROFILE,
    counts={"train": 900, "val": 300, "test": 8},
    findings=(FINDING,),
    verdict="The classic table says partial, best was deep.",
    seconds={"total": 31.0},
)

LAYER = NormLayer("stem", 0, 32)
PREPARED = PreparedFacts(
    backbone=BACKBONE,
    layout={"stem": (0, 192), "top": (192, 1472)},
    probed_top="top",
    one_size=False,
    knows=("tench",),
    layers=(LAYER,),
    reason="fastest on a CPU",
)
FEATURES_MADE = FeaturesMade(
    data="/data/trees",
    backbone="tf_efficientnet_lite0",
    runtime="openvino",
    shard=Shard(index=3, count=16),
    images=ShardImages(
        total=900,
        own=56,
        known=6,
        computed=49,
        unreadable=("/data/trees/ash/b.png: truncated",),
    ),
    width=4800,
    folder="/home/me/.cache/finetune",
    parts=("parts/0123456789abcdef/0123456789abcdef0123456789abcdef.features",),
    bytes=942_732,
    seconds=7.5,
)
CACHE = CacheUsage("/home/me/.cache/finetune", 2_000_000_000, 240, 9_000_000, 1, 34_000_000)

FETCHED = Fetched(
    name="resnet18.a1_in1k",
    licence="apache-2.0",
    permissive=True,
    weights="timm/resnet18.a1_in1k",
    file="/home/me/.cache/huggingface/hub/model.safetensors",
    bytes=46_800_000,
    fresh=True,
)
STAGE = StageRow(
    name="stem",
    module="features.0",
    output=(6, 14, 14),
    parameters=456,
    norms={"BatchNorm": 1},
    receptive_px=6,
    tuned_by=("scratch",),
)
ANATOMY = Anatomy(
    name="lenet5",
    licence="none published",
    side_px=32,
    parameters=456,
    top=84,
    family="plain-convnet",
    stages=(STAGE,),
    tuned={"linear-probe": 0, "scratch": 456},
)
CANDIDATE = Candidate(
    name="tf_efficientnet_lite0",
    licence="Apache-2.0",
    permissive=True,
    standing="chosen",
    why="its probe has the least log loss",
    parameters=3_370_000,
    side_px=224,
    latency_ms=12.5,
    image_ms=11.5,
    images=500,
    features="top",
    accuracy=0.875,
    log_loss=0.4,
    behind=0.0,
    noise=0.001,
    metric="map",
    score=0.75,
    loss=0.25,
)
OLD_SCORE = OldScore(name="ash", n=20, before=0.75, after=0.875)
OLD = OldAnswers(
    n=40,
    before=0.9,
    after=0.925,
    gain=0.025,
    noise=0.025,
    text="40 old images",
    metric="accuracy",
    rows=(OLD_SCORE,),
)
START = StartFacts(
    run="/runs/one",
    strategy="deep",
    kept="run",
    shared=("ash",),
    added=("bäy & co",),
    missing=("oak",),
    learnt=30,
    text="Start: run one, because it is better",
    old=OLD,
    target="classes",
)
CHOICE = BackboneChoice(
    name="tf_efficientnet_lite0",
    reason="Backbone: tf_efficientnet_lite0, the only one",
    candidates=(CANDIDATE,),
    seconds=4.5,
)
BLEND_PART = BlendPart(strategy="deep", weight=0.6, temperature=1.25, taps=("top",), side_px=128)

INT8 = Int8(
    loss=0.005,
    interval=(-0.006, 0.016),
    max_loss=0.01,
    images=400,
    source="400 test images",
    fp32_accuracy=0.88,
    metric="accuracy",
    fp32_score=0.88,
    same_labels=0.97,
    calibrated=300,
    bytes=3_800_000,
    fp32_bytes=13_600_000,
    ms=11.5,
    fp32_ms=19.25,
)
FALL = Fall(
    kind="blur",
    strength=2,
    what="out of focus",
    images=8,
    accuracy=0.75,
    lost=0.125,
    error=0.0625,
)
BOX = EvidenceBox(left=10, upper=20, right=300, lower=400, share=0.75, area=0.3)
MATERIAL = Material(
    profile=PROFILE,
    expected=(ExpectedError(times=2.0, images=2400, error=0.125, low=0.1, high=0.1875),),
    reliability=(
        Reliability(confidence=0.5, accuracy=0.25, interval=(0.1, 0.6), images=4),
        Reliability(confidence=0.875, accuracy=1.0, interval=(0.5, 1.0), images=4),
    ),
    answered=(
        Answered(threshold=0.4, share=1.0, accuracy=0.875, interval=(0.529, 0.978)),
        Answered(threshold=0.75, share=0.5, accuracy=1.0, interval=(0.5, 1.0)),
    ),
    close=(
        CloseCall(
            path="ash/9.png",
            truth="ash",
            answer="bäy & co",
            probability=0.5,
            second="ash",
            second_probability=0.4375,
        ),
    ),
    sure=(SureAnswer(path="ash/8.png", truth="ash", probability=0.9375),),
    heat_maps=(
        HeatMap(path="ash/8.png", truth="ash", answer="ash", places=((0.5, -0.25), (1.0, 0.0))),
        HeatMap(path="ash/7.png", truth="ash", answer="bäy & co", places=((1.0, 0.0),) * 2),
    ),
    image_map=ImageMap(
        points=(
            MapPoint(path="ash/1.png", x=-0.5, y=0.25, label=0, answer=0),
            MapPoint(path="bäy & co/2.png", x=1.0, y=-1.0, label=1, answer=0),
        ),
        images=900,
        text="scores of the probe on top",
    ),
    robustness=(FALL,),
)
SUGGESTIONS = Suggestions(
    run="runs/one",
    data="/data/new",
    images=40,
    known=2,
    copies=1,
    unreadable=("new/b.png: truncated",),
    suggestions=(Suggestion(path="a.png", label="ash", probability=0.55, margin=0.1, similar=4),),
    text="Label these 1 of 40 images next.",
)
EXAMPLES: tuple[Any, ...] = (
    LAYER,
    PREPARED,
    CACHE,
    FEATURES_MADE,
    FEATURES_MADE.images,
    FEATURES_MADE.shard,
    Beyond(of="images", value=20_000, measured=2000, times=10.0, spread=0.02),
    STAGE,
    ANATOMY,
    FETCHED,
    CANDIDATE,
    CHOICE,
    OLD,
    OLD_SCORE,
    START,
    SAMPLE,
    FINDING,
    Dataset("/data/trees", CLASSES, "ready", (SAMPLE,), None, (), (FINDING,)),
    SPLITS,
    SCALE,
    Origin("/runs/one/model.safetensors", "lenet5", "run one (deep), from none", "none"),
    PREPROCESS,
    Box(fit="letterbox", fill=(1, 2, 3), bands=(4, 3, 2)),
    Variant(side_px=128, mean=(0.5, 0.4, 0.3), interpolation="box"),
    BACKBONE,
    STAGES[0],
    REASONS[0],
    CURVE[0],
    Upright(True, "told at 90%"),
    PROFILE.size,
    PARTS[0],
    PROFILE.similarity,
    PROFILE,
    AUGMENT,
    PLAN,
    TRIAL,
    FORECASTS[1],
    LEAD,
    RECOMMENDATION,
    HISTORY[0],
    METRICS.per_class[1],
    AtShares(accuracy=0.75, interval=(0.5, 0.875), log_loss=0.5),
    METRICS,
    WRONG,
    Standing(False, "no better than always answering 'ash'", (FINDING,)),
    FLOOR,
    RESULT,
    FACTS.head,
    BLEND_PART,
    SHARES,
    FACTS,
    ClassProbability("ash", 0.75),
    Prediction("a.png", "ash", 0.75, (ClassProbability("ash", 0.75),)),
    LABEL_ANSWER,
    TARGET_EVALUATION,
    BackboneRow("lenet5", False, "none", "none", 61_000, 32, ("stem", "1")),
    REQUEST,
    OPTIONS,
    *vars(OPTIONS).values(),
    STOP,
    Begun(
        request=REQUEST,
        images="ab12",
        backbone="cd34",
        versions={"torch": "2.6"},
        forecasts=FORECASTS,
        run="/data/runs/one",
    ),
    FitProgress(
        history=HISTORY, best_epoch=1, best_loss=0.8, done=24, parts=2, scaler={"scale": 65536.0}
    ),
    EXPECTED[0],
    Advice(
        RECOMMENDATION, PROFILE, STAGES, EXPECTED, 160, {"train": 4}, (FINDING,), {"total": 2.5}
    ),
    CONTENDER,
    COMPARISON,
    CHECK,
    Health(
        *("/data/trees", CLASSES, "ready", {"train": 4, "val": 1, "test": 2}, (CHECK,), 0.25),
        labels=LABELS,
        target=TARGET,
    ),
    Evaluation("runs/one", "/data/new", METRICS, (), (WRONG,), True, "better"),
    Explanation(
        path="a.png",
        answer="ash",
        label="bäy & co",
        probability=0.25,
        method="cam",
        logit=-0.5,
        bias=0.25,
        size=(640, 480),
        box=BOX,
        map=((0.0, -1.5), (1.0, -2.5)),
        overlay="heat/a.png",
        error="cannot read image a.png",
    ),
    BOX,
    Exported(
        path="one.onnx",
        format="onnx",
        run="runs/one",
        files={"one.onnx": 1234, "one.md": 12},
        checked=48,
        labels_equal=True,
        ties=1,
        max_difference=0.001,
        allowed_difference=0.05,
        worst="ash/1.png",
        pictures="40 pictures of /data/trees and 8 drawn ones",
        int8=INT8,
    ),
    RunRow("runs/one", error="damaged"),
    FALL,
    SUSPECT,
    LABELS,
    SUGGESTIONS.suggestions[0],
    SUGGESTIONS,
    ROW,
    SET_ROW,
    DISTANCE_ROW,
    UNKNOWN,
    DOUBT,
    *MATERIAL.expected,
    MATERIAL.reliability[0],
    MATERIAL.answered[0],
    *MATERIAL.close,
    *MATERIAL.sure,
    MATERIAL.heat_maps[0],
    MATERIAL.image_map.points[0],
    MATERIAL.image_map,
    MATERIAL,
    INT8,
    Reported(path="one/report.html", run="runs/one", bytes=120_000, pictures=12),
    DoubtOptions(target_error=0.05),
    SELECTED,
    TARGET,
    LABEL_SCORE,
    NUMBER_SCORE,
    LABEL_METRICS,
    TARGET_STAGE,
    TARGET_FLOOR,
    TARGET_FACTS,
    TARGET_FALL,
    FAR_ANSWER,
    replace(target_result(PLAN), backbone_choice=CHOICE, start=START),
)


def lay(root: Path, *names: str) -> Path:
    """Write a file for each name, its content its name: `scan` decodes nothing."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root
