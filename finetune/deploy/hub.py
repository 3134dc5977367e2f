"""An export in the layout of timm's hub: a configuration, tensors, nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import timm
import timm.data
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from finetune.backbones.inference import ROOT, TOP
from finetune.deploy import outputs
from finetune.records.choices import Fit
from finetune.records.errors import ExportError
from finetune.records.run import RunFacts
from finetune.records.target import TargetFacts
from finetune.runs.run_folder import LoadedRun
from finetune.storage.arrays import Array

# What timm calls the squares that it knows (timm/data/transforms_factory.py).
CROP_MODES: dict[Fit, str] = {"squash": "squash", "center": "center", "letterbox": "border"}
OURS = ("lenet5", "alexnet")


def write(run: LoadedRun, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`.

    The temperature is part of the classifier: softmax of the logits gives our probabilities, of
    several labels the sigmoid; of numbers the outputs are in their own unit.

    Raises:
        ExportError: the layout cannot express this model, and why.
    """
    facts = run.facts
    _require(facts)
    side, classes = facts.preprocess.side_px, len(facts.classes)
    net, args = _network(facts.backbone.name, side, classes)
    head = net.get_classifier()
    if not isinstance(head, nn.Linear):
        raise ExportError(
            f"hub: the classifier of {facts.backbone.name} is no linear layer",
            hint="Use --format onnx.",
        )
    temperature = facts.head.temperature if facts.target is None else 1.0
    tensors = {name: torch.from_numpy(np.array(t)) for name, t in run.backbone.items()}
    name = next(n for n, m in net.named_modules() if m is head)
    tensors[f"{name}.weight"] = torch.from_numpy(run.weight / np.float64(temperature)).float()
    tensors[f"{name}.bias"] = torch.from_numpy(run.bias / np.float64(temperature)).float()
    net.load_state_dict(tensors)
    config = {
        "architecture": facts.backbone.name,
        "num_classes": classes,
        "num_features": int(net.num_features),
        "label_names": list(facts.classes),
        "model_args": args,
        **_task(facts),
        "pretrained_cfg": {
            "architecture": facts.backbone.name,
            "num_classes": classes,
            "label_names": list(facts.classes),
            "input_size": [3, side, side],
            "interpolation": facts.preprocess.interpolation,
            "crop_pct": 1.0,
            "crop_mode": CROP_MODES[facts.preprocess.fit],
            "mean": list(facts.preprocess.mean),
            "std": list(facts.preprocess.std),
            "classifier": name,
            "license": facts.backbone.licence.lower(),
            "custom_load": False,
        },
    }
    text = json.dumps(config, indent=1, ensure_ascii=False)
    (folder / "config.json").write_text(text, encoding="utf-8")
    content = save({n: t.contiguous() for n, t in tensors.items()}, metadata={"format": "pt"})
    (folder / "model.safetensors").write_bytes(content)


def _task(facts: RunFacts) -> dict[str, Any]:
    """What outputs that are no classes mean, in the words of Transformers; timm passes them by."""
    if facts.target is None:
        return {}
    if facts.target.kind == "number":
        return {"problem_type": "regression"}
    least = outputs.thresholds(facts.target, facts.classes)
    return {"problem_type": "multi_label_classification", "thresholds": list(least)}


def answer(
    folder: Path,
    read: Callable[[Path], npt.NDArray[np.uint8]],
    target: TargetFacts | None = None,
) -> Callable[[Path], Array]:
    """A picture's file → probabilities or numbers float64[C], by timm alone."""
    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    data: Any = timm.data
    transform = data.create_transform(**data.resolve_model_data_config(model))

    kind = None if target is None else target.kind

    def meant(path: Path) -> Array:
        with torch.inference_mode():
            logits = model(transform(Image.fromarray(read(path)))[None])
        found: Array = outputs.meant(np.asarray(logits.numpy(), np.float64), kind, 1.0)[0]
        return found

    return meant


def _require(facts: RunFacts) -> None:
    if facts.preprocess.fit not in CROP_MODES:
        raise ExportError(
            "hub: timm has no word for --fit half, a square half squeezed and half cropped, so "
            "whoever reads the export would cut pictures otherwise and get other answers",
            hint="Train with --fit squash, or use --format onnx, which has the square inside.",
        )
    if facts.parts:
        raise ExportError(
            f"hub: {facts.strategy} is two networks, and timm's layout holds one",
            hint="Train with --strategy partial or deep, or use --format onnx.",
        )
    if facts.backbone.name in OURS:
        raise ExportError(
            f"hub: {facts.backbone.name} is not one of timm's networks", hint="Use --format onnx."
        )
    if facts.head.taps != (TOP,):
        what = "their square root" if facts.head.taps == (ROOT,) else ", ".join(facts.head.taps)
        raise ExportError(
            f"hub: a classifier of timm reads the top features, this one reads {what}",
            hint="Train with --strategy partial or deep, or use --format onnx.",
        )


def _network(name: str, side_px: int, classes: int) -> tuple[Any, dict[str, Any]]:
    """The network, and what beside its name it takes to make it: attention nets have one size."""
    net: Any = timm.create_model(name, pretrained=False, num_classes=classes)
    if not net.pretrained_cfg.get("fixed_input_size") or net.pretrained_cfg["input_size"][-1] == (
        side_px
    ):
        return net, {}
    args: dict[str, Any] = {"img_size": side_px}
    return timm.create_model(name, pretrained=False, num_classes=classes, **args), args
