"""In what numbers a training computes: float32, or mixed with 16 bits where a device has them."""

from __future__ import annotations

import contextlib
import platform
from typing import Any

import torch

from finetune.backbones import engine
from finetune.records.errors import DeviceError

AUTO, FULL, BF16, FP16 = "auto", "fp32", "bf16", "fp16"
_TYPES = {BF16: torch.bfloat16, FP16: torch.float16}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def resolved(asked: str, device: torch.device) -> tuple[str, str]:
    """What a training computes in, and why.

    A GPU has units for 16 bits; a CPU, even one with instructions for bfloat16, was no faster with
    them (docs/log.md, 2026-11-26), so there it has to be asked for.
    """
    if asked != AUTO:
        return asked, "user"
    if device.type != "cuda":
        return FULL, f"{device.type}: 16 bits were not faster where measured (docs/log.md)"
    kind = engine.half(device)
    return (_NAMES[kind], "mixed: the fastest that this GPU has") if kind else (FULL, "no 16 bits")


def require(asked: str, device: str) -> None:
    """Refuse bfloat16 where the device would only emulate it.

    Raises:
        DeviceError: the device has none.
    """
    if asked != BF16:
        return
    chosen, _ = engine.choose_device(device)
    if not _native(chosen):
        raise DeviceError(
            f"--precision bf16: {chosen} has no bfloat16 that is computed in hardware",
            hint="Leave it out, or use --precision fp32.",
        )


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The context of a training's steps in a precision that `resolved` gave, or `auto`."""
    kind = _TYPES.get(resolved(precision, device)[0])
    return contextlib.nullcontext() if kind is None else torch.autocast(device.type, dtype=kind)


def _native(device: torch.device) -> bool:
    if device.type == "cuda":
        return engine.half(device) == torch.bfloat16
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("x86_64", "amd64"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
