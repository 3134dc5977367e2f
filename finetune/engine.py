"""The fastest exact forward pass for this machine: features of all stages at once."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune import inference, probe
from finetune.backbones import Backbone
from finetune.errors import DeviceError, first_line
from finetune.inference import Engine, Features, Forward, Layout
from finetune.records import Reason

# Preparing OpenVINO takes about 1.7 s and saves about 9 ms an image (docs/log.md,
# 2026-11-23), so it pays from some 180 images on.
CONVERT_FROM_IMAGES = 180
# Largest difference allowed between the two runtimes, relative to the features' own size; of a
# whole network: to the scores' and to the probabilities'.
PARITY = 1e-3


class _Stages(nn.Module):
    """Pixels → one row of features per image, the stages side by side."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat(list(self.backbone.forward_stages(images).values()), dim=1)


def choose_device(asked: str = "auto") -> tuple[torch.device, Reason]:
    """CUDA, else MPS, else CPU; or what was asked for.

    Raises:
        DeviceError: the device asked for does not exist or is not here.
    """
    mps = torch.backends.mps.is_available()
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda"), Reason("device", torch.cuda.get_device_name())
        if mps:
            return torch.device("mps"), Reason("device", "Apple GPU found")
        return torch.device("cpu"), Reason("device", f"no GPU found; {os.cpu_count()} CPU cores")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise DeviceError(
            f"unknown device '{asked}'", hint="Use auto, cpu, cuda, cuda:0 or mps."
        ) from error
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": mps}
    if not here.get(device.type, False):
        raise DeviceError(
            f"device '{asked}' is not available here", hint="Leave out --device or use cpu."
        )
    return device, Reason("user", f"--device {asked}")


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision on a GPU: bfloat16 where the hardware has it, else float16."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=kind)


def to_device(pixels: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copy a batch over; through pinned memory, without waiting, where there is a GPU."""
    batch = torch.from_numpy(pixels)
    if device.type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


def make(backbone: Backbone, device: torch.device, side_px: int, images: int) -> Engine:
    """Choose and prepare the runtime for about `images` images of `side_px` pixels a side."""
    module = _Stages(backbone).eval()
    layout = _layout(backbone, side_px)
    plain = _torch_engine(module, device)
    if device.type != "cpu":
        return Engine(plain, layout, f"torch on {device.type}", Reason("engine", "a GPU is there"))
    if images < CONVERT_FROM_IMAGES:
        reason = f"{images} images: converting the network would take longer than it saves"
        return Engine(plain, layout, "torch", Reason("engine", reason))
    try:
        graph = _convert(module, side_px)
        fast = inference.compiled(graph)
        gap = _parity(plain, fast, side_px)
    except Exception as error:
        reason = f"OpenVINO could not take this network: {first_line(error)}"
        return Engine(plain, layout, "torch", Reason("engine", reason))
    if not gap <= PARITY:  # so that no number at all fails, too
        reason = f"OpenVINO's features differ by {gap:.1e} of their size, more than {PARITY:.0e}"
        return Engine(plain, layout, "torch", Reason("engine", reason))
    reason = f"fastest on a CPU; features agree with torch's within {gap:.0e} of their size"
    return Engine(fast, layout, "openvino", Reason("engine", reason), graph)


def export(
    backbone: Backbone, head: probe.Head, taps: Sequence[str], side_px: int, made: Engine
) -> tuple[tuple[bytes, bytes] | None, str]:
    """The whole network, head included, as the bytes of `inference.FILES`.

    Args:
        backbone: On the CPU.
        head: Its classifier, as the run stores it.
        taps: The stages that the head reads.
        side_px: Side of the input.
        made: An engine of the same backbone and side; its graph is taken where it has one.

    Returns:
        The bytes, or None and why there are none.
    """
    module = _Stages(backbone).eval()
    try:
        graph = made.graph or _convert(module, side_px)
        spans = [made.layout[tap] for tap in taps]
        files = _serialised(_with_head(graph, head, spans))
        ready = inference.scorer(*files, side_px, len(head.bias), inference.FILES[0])
        rows = _torch_engine(module, torch.device("cpu"))(_noise(side_px))
        columns = np.concatenate([rows[:, slice(*span)] for span in spans], axis=1)
        one, two = probe.score(head, columns), ready.forward(_noise(side_px)).astype(np.float64)
        likely = [probe.probabilities(scores, head.temperature) for scores in (one, two)]
        gap = float(np.max([_gap(one, two), _gap(*likely)]))  # one that is no number stays so
    except Exception as error:
        return None, f"OpenVINO could not take this network: {first_line(error)}"
    if not gap <= PARITY:  # so that no number at all fails, too
        return None, f"OpenVINO's answers differ by {gap:.1e} of their size, more than {PARITY:.0e}"
    return files, ""


def _layout(backbone: Backbone, side_px: int) -> Layout:
    device = next(backbone.parameters()).device
    with torch.inference_mode():
        blank = torch.zeros(1, side_px, side_px, 3, dtype=torch.uint8, device=device)
        widths = {
            name: features.shape[1]
            for name, features in backbone.forward_stages(backbone.normalise(blank)).items()
        }
    layout, start = {}, 0
    for name, width in widths.items():
        layout[name] = (start, start + width)
        start += width
    return layout


def _torch_engine(module: _Stages, device: torch.device) -> Forward:
    module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(pixels: npt.NDArray[np.uint8]) -> Features:
        with torch.inference_mode(), autocast(device):
            x = module.backbone.normalise(to_device(pixels, device))
            rows = module(x.contiguous(memory_format=torch.channels_last))
        out: Features = rows.float().cpu().numpy()
        return out

    return forward


def _convert(module: _Stages, side_px: int) -> Any:
    """OpenVINO's model of uint8[1,S,S,3] → the module's float32[1,F]."""

    class Whole(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = module(module.backbone.normalise(images))
            return out

    whole = Whole()
    whole.module = module
    example = torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns of shape checks inside timm
        graph = inference.openvino().convert_model(whole.eval(), example_input=example)
    graph.reshape([1, side_px, side_px, 3])
    _fold(graph)
    return graph


def _fold(graph: Any) -> None:
    """Compute now what the fixed input size has made constant: half of what there is to compile."""
    from openvino import passes  # noqa: PLC0415 - `_convert` has imported it

    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(graph)


def _with_head(graph: Any, head: probe.Head, spans: Sequence[tuple[int, int]]) -> Any:
    """The converted model cut off at some stages' features, and the classifier put on these.

    Args:
        graph: From `_convert`, which ends in one row of all stages side by side.
        head: The classifier.
        spans: First and last column but one of each stage that it reads, in its order.
    """
    from openvino import opset13 as ops  # noqa: PLC0415 - `_convert` has imported it

    copy = graph.clone()
    row = copy.output(0).get_node().input_value(0).get_node()
    if row.get_type_name() != "Concat":
        raise ValueError("the stages cannot be found in the converted model")
    parts = [row.input_value(i) for i in range(row.get_input_size())]
    stops = np.cumsum([part.get_shape()[1] for part in parts])
    wanted = [np.flatnonzero((start < stops) & (stops <= stop)) for start, stop in spans]
    features = ops.concat([parts[i] for i in np.concatenate(wanted)], 1)
    weight, bias = (ops.constant(x.astype(np.float32)) for x in (head.weight, head.bias[None]))
    scores = ops.add(ops.matmul(features, weight, False, True), bias)
    return inference.openvino().Model([scores], copy.get_parameters(), "finetune")


def _serialised(graph: Any) -> tuple[bytes, bytes]:
    """The bytes of the two files of a model, in full precision."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (Path(folder) / name for name in inference.FILES)
        inference.openvino().save_model(graph, str(first), compress_to_fp16=False)
        return first.read_bytes(), second.read_bytes()


def _parity(plain: Forward, fast: Forward, side_px: int) -> float:
    """Largest difference on two noise images, relative to the largest feature."""
    return _gap(plain(_noise(side_px)), fast(_noise(side_px)))


def _gap(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float:
    return float(np.abs(one - two).max() / max(float(np.abs(one).max()), 1e-12))


def _noise(side_px: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, side_px, side_px, 3), dtype=np.uint8)
