"""Why a run says what it says: the evidence in each place of a picture; torch only where needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from finetune.backbones import inference
from finetune.backbones.graph_maps import GraphMaps, NotPooledError
from finetune.backbones.inference import Pixels
from finetune.backbones.pooled import Evidence
from finetune.deploy import predictor
from finetune.pictures import decoding
from finetune.records.backbone import Preprocess
from finetune.records.errors import ImageError, first_line
from finetune.records.events import Listener
from finetune.records.file_names import NETWORK
from finetune.records.run import RunFacts
from finetune.runs import run_folder
from finetune.runs.run_folder import LoadedRun
from finetune.storage.arrays import Array

# One picture uint8[S,S,3] as the network sees it, and a class or None for the likeliest → evidence.
Explainer = Callable[[Pixels, int | None], Evidence]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One picture and the evidence in it: `pixels` uint8[S,S,3] as the network sees it."""

    path: Path
    pixels: Pixels
    evidence: Evidence

    @property
    def places(self) -> Array:
        """The evidence for the answer in each place, float64[H,W]."""
        return self.evidence.places


def of_run(run: Path, facts: RunFacts, device: str, listener: Listener) -> Explainer:
    """What explains a run's answers.

    Args:
        run: Its folder.
        facts: From `run_folder.load_facts`.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears why where torch has to be loaded.

    Raises:
        RunError: the run is not what training wrote.
    """
    quick = device in predictor.QUICK_DEVICES
    network = run_folder.load_network(run, facts) if quick else None
    return of_parts(network, facts, lambda: run_folder.load(run), device, listener)


def of_parts(
    network: tuple[bytes, bytes] | None,
    facts: RunFacts,
    load: Callable[[], LoadedRun],
    device: str,
    listener: Listener,
) -> Explainer:
    """The same of a run that need not be on disk yet.

    Args:
        network: The bytes of its inference file; None where it has none or is not to be asked.
        facts: As for `of_run`.
        load: Gives its tensors, where torch has to explain it.
        device: As for `of_run`.
        listener: As for `of_run`.
    """
    why = f"no {NETWORK[0]} to use"
    if network is not None:
        try:
            return of_graph(network, facts)
        except NotPooledError as error:
            why = str(error)
        except Exception as error:  # no OpenVINO, one too old, or no such CPU
            why = f"OpenVINO cannot use {NETWORK[0]} here ({first_line(error)})"
    listener.note(f"{why}: explaining with torch, which takes some seconds to load")
    made = _from_torch(load(), device)
    return lambda pixels, label: _scaled(made(pixels, label), facts.head.temperature)


def within(
    explain: Explainer, about: Preprocess, paths: Sequence[Path], seconds: float
) -> list[Seen]:
    """As many pictures as can be explained in a time, in their order; unreadable ones are left out.

    A report asks for its few: `Seen.places` are small arrays, and `overlay.on_square` makes a
    picture of one.

    Args:
        explain: From `of_run` or `of_parts`.
        about: How pictures become the network's input.
        paths: Image files.
        seconds: When to stop; one that has begun is finished.
    """
    out: list[Seen] = []
    end = time.monotonic() + seconds
    for path in paths:
        if time.monotonic() >= end:
            break
        try:
            pixels = decoding.decode(path, about.side_px, about.scales, about.box)
        except ImageError:
            continue
        out.append(Seen(path=path, pixels=pixels, evidence=explain(pixels, None)))
    return out


def of_graph(network: tuple[bytes, bytes], facts: RunFacts) -> Explainer:
    """What explains answers with a run's inference file alone.

    Raises:
        NotPooledError: what its head reads is no pooled map, so that torch has to explain it.
        Exception: OpenVINO is not here or cannot read it; it raises all sorts of things.
    """
    made = GraphMaps(*network)
    made(inference.noise(facts.preprocess.side_px, 1)[0], 0)  # which finds how it is pooled
    return lambda pixels, label: _scaled(made(pixels, label), facts.head.temperature)


def _from_torch(run: LoadedRun, device: str) -> Explainer:
    import torch  # noqa: PLC0415 - seconds

    from finetune.backbones import engine, load, torch_maps  # noqa: PLC0415

    chosen, _ = engine.choose_device(device)
    facts = run.facts
    wanted = [(part.taps, part.side_px) for part in facts.parts]
    wanted = wanted or [(facts.head.taps, facts.preprocess.side_px)]
    networks = []
    for tensors, (taps, side_px) in zip(run.networks, wanted, strict=True):
        body = load.rebuild(facts.backbone, {n: torch.from_numpy(t) for n, t in tensors.items()})
        networks.append(torch_maps.Network(backbone=body, taps=taps, side_px=side_px))
    weight, bias = run.weight.astype(np.float64), run.bias.astype(np.float64)
    return torch_maps.TorchMaps(networks, weight, bias, chosen)


def _scaled(found: Evidence, temperature: float) -> Evidence:
    """In units of logits whose softmax are the probabilities."""
    return replace(
        found,
        logits=found.logits / temperature,
        bias=found.bias / temperature,
        places=found.places / temperature,
    )
