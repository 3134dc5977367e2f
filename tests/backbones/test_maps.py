"""Promises of heat maps: evidence adds up to the logit, by either runtime, for every family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.backbones import engine, graph_maps, inference, joined, load, pooled, registry
from finetune.backbones.inference import ROOT, TOP
from finetune.backbones.stages import Backbone, _pool
from finetune.backbones.torch_maps import Network, TorchMaps
from finetune.deploy import inference_file
from finetune.deploy.predictor import Predictor
from finetune.heads import ridge
from finetune.storage.arrays import Array

CLASSES = 3
PICTURE = inference.noise(64, 1)[0]


def head_of(width: int) -> ridge.Head:
    """A head of random weights."""
    rng = np.random.default_rng(0)
    return ridge.stored(ridge.Head(rng.normal(size=(CLASSES, width)), rng.normal(size=CLASSES), 1))


def by_torch(backbone: Backbone, taps: tuple[str, ...], side_px: int) -> TorchMaps:
    """What explains a head of random weights on some features."""
    with torch.no_grad():
        x = backbone.normalise(torch.zeros(1, side_px, side_px, 3, dtype=torch.uint8))
        rows = backbone.forward_stages(x)
    head = head_of(sum(rows[tap].shape[1] for tap in taps))
    network = Network(backbone=backbone, taps=taps, side_px=side_px)
    return TorchMaps([network], head.weight, head.bias, torch.device("cpu"))


def logits_of(backbone: Backbone, explain: TorchMaps, taps: Sequence[str]) -> Array:
    """The same head's logits of `PICTURE`, float64[C], without any map."""
    with torch.no_grad():
        rows = backbone.forward_stages(backbone.normalise(torch.from_numpy(PICTURE[None])))
    row = torch.cat([rows[tap] for tap in taps], dim=1)[0].double().numpy()
    out: Array = explain.weight @ row + explain.bias
    return out


@given(
    channels=st.integers(1, 4),
    height=st.integers(2, 7),
    width=st.integers(2, 7),
    seed=st.integers(0, 99),
)
def test_evidence_adds_up_to_the_score(channels: int, height: int, width: int, seed: int) -> None:
    """The mean over places is weight · feature for each pooling, at any size, also resampled."""
    rng = np.random.default_rng(seed)
    maps = rng.random((channels, height, width))
    for how in pooled.POOLINGS:
        features = pooled.pooled(how, maps)
        weight = rng.normal(size=len(features))
        places = pooled.evidence(how, maps, weight)

        assert places.shape == (height, width)
        assert places.mean() == pytest.approx(weight @ features, abs=1e-9)
        assert pooled.resampled(places, 5, 3).mean() == pytest.approx(places.mean(), abs=1e-9)


def test_poolings_are_those_of_the_stages() -> None:
    """Mean, spread and grid are what torch pools, in the same order, of even and odd sizes."""
    for side in (4, 5):
        maps = torch.randn(1, 6, side, side)
        row = np.concatenate(
            [pooled.pooled(h, maps[0].numpy()) for h in ("mean", "spread", "grid")]
        )

        assert row == pytest.approx(_pool(maps, 0)[0].numpy(), abs=1e-5)


def test_evidence_lies_where_the_feature_is() -> None:
    """One bright place has all of the evidence, and a channel of zeros gives none and no fault."""
    maps = np.zeros((2, 4, 4))
    maps[0, 1, 2] = 8.0
    for how in pooled.POOLINGS[:2]:
        places = pooled.evidence(how, maps, np.array([1.0, 5.0]))

        assert np.argwhere(places != 0).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("test_resnet", (ROOT,)),
        ("test_resnet", ("stem", "2", TOP)),
        ("test_efficientnet", ("1", "3")),
        ("test_vit", ("2", "4")),
    ],
)
def test_both_runtimes_explain_alike_and_add_up(name: str, taps: tuple[str, ...]) -> None:
    """A run's inference file, read without torch, gives torch's map; it adds up to the logit."""
    side = 160 if name == "test_vit" else 64  # it is built for one size
    backbone, _ = load.build(name, registry.RANDOM)
    made = engine.make(backbone, torch.device("cpu"), side, 1)
    one = by_torch(backbone, taps, side)
    head = ridge.Head(one.weight, one.bias, 1.0)
    files, why = inference_file.inference_file(
        lambda: engine.convert(backbone, side), Predictor(made, side, (), 1.0, head, taps)
    )
    assert files is not None, why
    picture = inference.noise(side, 1)[0]

    two = graph_maps.GraphMaps(*files)
    for label in (None, 1):
        by, other = one(picture, label), two(picture, label)

        assert (by.method, other.method, by.label) == ("cam", "cam", other.label)
        assert other.places == pytest.approx(by.places, abs=1e-3 * np.abs(by.places).max())
        for found in (by, other):
            assert found.places.mean() + found.bias == pytest.approx(
                found.logits[found.label], abs=1e-3
            )


def test_a_class_token_is_not_taken_for_a_map() -> None:
    """The torch-free path refuses what it cannot explain; torch's attention does it."""
    backbone, _ = load.build("test_vit", registry.RANDOM)
    made = engine.make(backbone, torch.device("cpu"), 160, 1)
    explain = by_torch(backbone, (TOP,), 160)
    head = ridge.Head(explain.weight, explain.bias, 1.0)
    files, why = inference_file.inference_file(
        lambda: engine.convert(backbone, 160), Predictor(made, 160, (), 1.0, head, (TOP,))
    )
    assert files is not None, why
    picture = inference.noise(160, 1)[0]

    with pytest.raises(graph_maps.NotPooledError):
        graph_maps.GraphMaps(*files)(picture)
    found = explain(picture, 1)
    assert (found.method, found.places.shape) == ("attention", (10, 10))
    assert found.places.min() >= 0
    assert found.places.max() > 0
    assert not any(getattr(m, "_forward_hooks", None) for m in backbone.net.modules())


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("test_convnext", "cam"),  # a LayerNorm behind the pooling
        ("test_byobnet", "cam"),
        ("test_nfnet", "cam"),
        ("lenet5", "gradient"),  # linear layers behind a flattened map
    ],
)
def test_heads_of_a_networks_own_are_explained(name: str, method: str) -> None:
    """Behind a LayerNorm the evidence still adds up; where it cannot, the method says so."""
    backbone, facts = load.build(name, registry.RANDOM)
    side = facts.preprocess.side_px
    explain = by_torch(backbone, (TOP,), side)
    picture = inference.noise(side, 1)[0]

    found = explain(picture, 2)

    assert found.method == method
    assert np.isfinite(found.places).all()
    assert np.ptp(found.places) > 0
    if method == "cam":
        assert found.places.mean() + found.bias == pytest.approx(found.logits[2], rel=1e-3)


def test_two_networks_are_explained_by_the_sum_of_their_maps() -> None:
    """A blend's map is that of its head's columns for each network, added; its logit the sum."""
    backbone, _ = load.build("test_resnet", registry.RANDOM)
    one = by_torch(backbone, (TOP,), 64)
    sides = (64, 32)
    networks = [Network(backbone=backbone, taps=(TOP,), side_px=side) for side in sides]
    weight = np.concatenate([0.7 * one.weight, 0.3 * one.weight[::-1]], axis=1)
    both = TorchMaps(networks, weight, one.bias, torch.device("cpu"))

    found = both(PICTURE, 1)

    small = joined.shrunk(PICTURE[None], sides[1])[0]
    parts = [
        TorchMaps([networks[0]], 0.7 * one.weight, one.bias, torch.device("cpu"))(PICTURE, 1),
        TorchMaps([networks[1]], 0.3 * one.weight[::-1], one.bias, torch.device("cpu"))(small, 1),
    ]
    assert found.places == pytest.approx(pooled.added(p.places for p in parts))
    assert found.places.mean() + found.bias == pytest.approx(found.logits[1], rel=1e-4)


def test_logits_are_those_of_the_model() -> None:
    """What is explained is what the model says, for the likeliest class unless one is named."""
    backbone, _ = load.build("test_efficientnet", registry.RANDOM)
    explain = by_torch(backbone, ("2", TOP), 64)
    expected = logits_of(backbone, explain, ("2", TOP))

    found = explain(PICTURE)

    assert found.logits == pytest.approx(expected, rel=1e-4)
    assert found.label == expected.argmax()
    assert explain(PICTURE, 0).label == 0
