"""The fastest exact forward pass for this machine: features of all stages at once."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from finetune.backbones import Backbone
from finetune.errors import DeviceError, first_line
from finetune.records import Reason

Features = npt.NDArray[np.float32]
Layout = dict[str, tuple[int, int]]

# Preparing OpenVINO takes about 1.7 s and saves about 9 ms an image (docs/log.md,
# 2026-11-23), so it pays from some 180 images on.
CONVERT_FROM_IMAGES = 180
# Largest difference allowed between the two runtimes, relative to the features' own size.
PARITY = 1e-3


@dataclass(frozen=True)
class Engine:
    """A way to turn pixels into features.

    `forward` takes uint8[B,S,S,3] and gives float32[B,F]; `layout` says which columns belong to
    which stage; `reason` why this runtime was taken.
    """

    forward: Callable[[npt.NDArray[np.uint8]], Features]
    layout: Layout
    runtime: str
    reason: Reason


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
        fast = _openvino_engine(module, side_px)
        gap = _parity(plain, fast, side_px)
    except Exception as error:
        reason = f"OpenVINO could not take this network: {first_line(error)}"
        return Engine(plain, layout, "torch", Reason("engine", reason))
    if not gap <= PARITY:  # so that no number at all fails, too
        reason = f"OpenVINO's features differ by {gap:.1e} of their size, more than {PARITY:.0e}"
        return Engine(plain, layout, "torch", Reason("engine", reason))
    reason = f"fastest on a CPU; features agree with torch's within {gap:.0e} of their size"
    return Engine(fast, layout, "openvino", Reason("engine", reason))


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


def _torch_engine(
    module: _Stages, device: torch.device
) -> Callable[[npt.NDArray[np.uint8]], Features]:
    module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(pixels: npt.NDArray[np.uint8]) -> Features:
        with torch.inference_mode(), autocast(device):
            x = module.backbone.normalise(to_device(pixels, device))
            rows = module(x.contiguous(memory_format=torch.channels_last))
        out: Features = rows.float().cpu().numpy()
        return out

    return forward


def _openvino_engine(module: _Stages, side_px: int) -> Callable[[npt.NDArray[np.uint8]], Features]:
    # OpenVINO's converter reports its use over the network through this module, and waits for it;
    # without the module it takes its own empty stand-in.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov  # noqa: PLC0415 - a quarter of a second, only where it is used

    class Whole(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = module(module.backbone.normalise(images))
            return out

    whole = Whole()
    whole.module = module
    example = torch.zeros(2, side_px, side_px, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns of shape checks inside timm
        model = ov.convert_model(whole.eval(), example_input=example)
    # One image at a time with all cores on it was the fastest of ten settings, needs no warm-up,
    # and gives an image the same features whatever its neighbours (docs/log.md, 2026-11-23).
    model.reshape([1, side_px, side_px, 3])
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = ov.Core().compile_model(model, "CPU", settings)

    def forward(pixels: npt.NDArray[np.uint8]) -> Features:
        return np.concatenate([compiled(image[None])[0] for image in pixels])

    return forward


def _parity(
    plain: Callable[[npt.NDArray[np.uint8]], Features],
    fast: Callable[[npt.NDArray[np.uint8]], Features],
    side_px: int,
) -> float:
    """Largest difference on two noise images, relative to the largest feature."""
    noise = np.random.default_rng(0).integers(0, 256, (2, side_px, side_px, 3), dtype=np.uint8)
    one, two = plain(noise), fast(noise)
    return float(np.abs(one - two).max() / max(float(np.abs(one).max()), 1e-12))
