"""Promises of `backbones.precision`: what a training computes in, and that it is there."""

from __future__ import annotations

import contextlib
import platform

import pytest
import torch

from finetune.backbones import engine, precision
from finetune.records.errors import DeviceError

CPU = torch.device("cpu")


def test_a_cpu_computes_in_full_precision_unless_asked() -> None:
    """By rule fp32, with the reason; what the user says is taken."""
    assert precision.resolved("auto", CPU)[0] == "fp32"
    assert precision.resolved("auto", CPU)[1].startswith("cpu: ")
    assert precision.resolved("bf16", CPU) == ("bf16", "user")


@pytest.mark.parametrize(
    ("kind", "name"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16")], ids=str
)
def test_a_gpu_computes_in_what_it_has(
    kind: torch.dtype, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mixed precision in the card's own 16 bits; fp32 where the user says so."""
    monkeypatch.setattr(engine, "half", lambda _: kind)
    gpu = torch.device("cuda")

    assert precision.resolved("auto", gpu)[0] == name
    assert isinstance(precision.autocast(gpu, "fp32"), contextlib.nullcontext)


def test_bfloat16_on_a_cpu_is_bfloat16() -> None:
    """Products inside the context have 16 bits."""
    with precision.autocast(CPU, "bf16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", None])
def test_bfloat16_is_refused_where_the_cpu_has_none(
    flag: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either kind of instructions is enough; without them it would be emulated, and is refused."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True})

    if flag is not None:
        precision.require("bf16", "cpu")
        return
    with pytest.raises(DeviceError, match="--precision bf16: cpu has no bfloat16") as caught:
        precision.require("bf16", "cpu")
    assert "fp32" in caught.value.hint
    precision.require("fp32", "cpu")
