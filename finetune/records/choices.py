"""The words that options and records may hold, and limits on what is read."""

from __future__ import annotations

from typing import Literal

SCHEMA_VERSION = 1
# Limits on what is read from a run, which may be untrusted: a confusion matrix has the square of
# the classes, a batch of images the square of the side.
MOST_CLASSES = 10_000
MOST_SIDE_PX = 2048
Strategy = Literal["linear-probe", "stage-probe", "partial", "deep", "scratch", "blend"]
Size = Literal["small", "large"]
Similarity = Literal["similar", "different"]
Verdict = Literal["similar", "different", "uncertain"]
Policy = Literal["measured", "table"]
DecidedBy = Literal["measured", "table", "undecided"]
Severity = Literal["note", "warning", "error"]
Status = Literal["passed", "note", "warning", "error", "not-applicable"]
Fit = Literal["half", "squash", "center", "letterbox"]
Format = Literal["onnx", "openvino", "pt2", "hub", "triton"]
Norm = Literal["batch", "instance", "group", "layer"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
NearCopies = Literal["together", "ignore"]
OtherTarget = Literal["labels", "number"]
TargetKind = Literal["classes", "labels", "number"]
TargetChoice = Literal["auto", "classes", "labels", "number"]
OtherLoss = Literal["bce", "mse", "mae", "huber"]
Loss = Literal["cross-entropy", "bce", "mse", "mae", "huber"]
Metric = Literal[
    "accuracy", "balanced-accuracy", "macro-f1", "log-loss", "map", "rmse", "mae", "r2"
]
Family = Literal["batchnorm-convnet", "layernorm-convnet", "plain-convnet", "vit", "hybrid"]
# Each of these is one network, with a plan of its own.
SINGLE: tuple[Strategy, ...] = ("linear-probe", "stage-probe", "partial", "deep", "scratch")
STRATEGIES: tuple[Strategy, ...] = (*SINGLE, "blend")
TRANSFERS = SINGLE[:4]  # those of the table; `scratch` is for comparison only
PROBES = SINGLE[:2]  # which leave the network as it was
TUNED: tuple[Strategy, ...] = ("partial", "deep", "scratch")
SPOKEN: dict[Strategy, str] = {
    "linear-probe": "the linear probe",
    "stage-probe": "the stage probe",
    "partial": "partial fine-tuning",
    "deep": "deep fine-tuning",
    "scratch": "training from scratch",
    "blend": "a blend of tuned network and probe",
}
LESS_IS_BETTER: tuple[Metric, ...] = ("log-loss", "rmse", "mae")
FAMILY_NAMES: dict[Family, str] = {
    "batchnorm-convnet": "a convolutional network with BatchNorm",
    "layernorm-convnet": "a convolutional network with LayerNorm",
    "plain-convnet": "a convolutional network without normalization",
    "vit": "a vision transformer",
    "hybrid": "a hybrid of convolution and attention",
}


def spoken(strategy: Strategy) -> str:
    """A strategy as it is called in a sentence."""
    return SPOKEN[strategy]


_SPOKEN_METRICS = {"macro-f1": "macro F1", "map": "mAP", "rmse": "RMSE", "mae": "MAE", "r2": "R²"}


def spoken_metric(metric: Metric) -> str:
    """A metric as it is called in a sentence."""
    return _SPOKEN_METRICS.get(metric, metric.replace("-", " "))


def unit_of(metric: Metric) -> tuple[float, str, str]:
    """By what a difference in a metric is multiplied to be told, its format, and what it is of."""
    if metric in ("accuracy", "balanced-accuracy", "macro-f1"):
        of = "" if metric == "accuracy" else f" of {spoken_metric(metric)}"
        return 100.0, "z.1f", f"points{of}"
    form = "z.3g" if metric in ("rmse", "mae") else "z.3f"  # never -0.000
    return 1.0, form, f"of {spoken_metric(metric)}"
