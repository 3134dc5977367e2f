"""Promises of `backbones.hub` and `fetching`: what is on disk is found, what is fetched is told.

Random weights lie in a made-up Hub cache here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from finetune.backbones import fetching, hub, load, networks, registry
from finetune.records.errors import BackboneError

TINY = "test_resnet.r160_in1k"  # timm's own network for tests, under its whole name
Lay = Callable[..., Path]


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """`lay(name)` puts random weights into an empty Hub cache, as huggingface_hub lays them."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def put(name: str = TINY, folder: str = "models--timm--{name}") -> Path:
        place = tmp_path / "hub" / folder.format(name=name)
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("abc")
        (place / "snapshots" / "abc").mkdir(parents=True)
        file = place / "snapshots" / "abc" / hub.FILE
        torch.manual_seed(5)
        net = networks.create(name)
        save_file({n: t.clone() for n, t in net.state_dict().items()}, file)
        return file

    return put


def no_hub(repository: str, file: str) -> str:
    """A Hub that cannot be reached."""
    raise ConnectionError("Name or service not known")


def test_a_network_in_the_hubs_cache_is_on_disk(lay: Lay) -> None:
    """It is found by its whole name, beside those that packages carry; others are not."""
    file = lay()
    lay(folder="models--somebody--{name}")

    assert hub.names() == (TINY,)
    assert hub.file(TINY) == file
    assert registry.ready()[0] == TINY  # its file is the smallest
    assert registry.DEFAULT in registry.ready()
    assert registry.identity(TINY, None) is not None
    assert hub.file("resnet18.a1_in1k") is None


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a--b\n"])
def test_a_name_that_is_no_name_is_not_looked_for(lay: Lay, name: str) -> None:
    """No word of a user leads out of the cache."""
    lay()

    assert hub.file(name) is None


def test_an_unfinished_download_is_not_on_disk(lay: Lay) -> None:
    """A network whose weights are missing in its folder counts for nothing."""
    lay().unlink()

    assert hub.names() == ()


@pytest.mark.parametrize("name", [TINY, "test_resnet"])
def test_what_is_on_disk_is_loaded_without_a_network(
    lay: Lay, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's own tensors come, also by the short name, and nothing asks the Hub."""
    file = lay()
    monkeypatch.setattr("timm.models._hub.load_state_dict_from_hf", no_hub)
    expected = load.read_tensors(file)

    backbone, facts = load.build(name)

    state = backbone.state()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in state.items())
    assert facts.weights == f"timm/{TINY}"
    assert facts.licence == "apache-2.0"
    assert "state_dict" not in backbone.net.pretrained_cfg


def test_the_list_of_backbones_has_what_was_fetched(lay: Lay, run_cli) -> None:
    """`finetune backbones` shows a network of the Hub's cache as ready."""
    lay()

    done = run_cli("backbones", "--json")

    assert f'"name":"{TINY}","ready":true' in done.out


def test_fetching_asks_for_the_file_and_tells_the_licence(lay: Lay) -> None:
    """The Hub is asked for one file of the network's repository, under its whole name."""
    file, asked = lay(), []
    away = file.with_name("elsewhere")
    file.rename(away)

    def get(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(away)

    found = fetching.fetch("test_resnet", get)

    assert asked == [(f"timm/{TINY}", "model.safetensors")]
    assert (found.name, found.licence, found.permissive) == (TINY, "apache-2.0", True)
    assert found.fresh
    assert found.bytes == away.stat().st_size


def test_what_is_here_is_not_fetched(lay: Lay) -> None:
    """Weights in the cache, and those of a package, need no network."""
    lay()

    assert not fetching.fetch(TINY, no_hub).fresh
    assert not fetching.fetch(registry.DEFAULT, no_hub).fresh


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (TINY, f"cannot fetch the weights of {TINY}: the Hub cannot be reached from here"),
        ("no_such_net", "unknown backbone 'no_such_net'"),
        ("resnet18.no_such_tag", "resnet18.no_such_tag"),
        ("legacy_seresnet18", "timm has no weights of legacy_seresnet18 on the Hub"),
    ],
)
def test_what_cannot_be_fetched_is_told(
    name: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No network, no such name, nothing published: the message says which, and what to do."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(BackboneError) as caught:
        fetching.fetch(name, no_hub)

    assert says in caught.value.message
    assert caught.value.hint


def test_another_fault_is_told_in_its_own_words(tmp_path: Path, monkeypatch) -> None:
    """A full disk is not called a Hub that is away."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    def full(*_: str) -> str:
        raise OSError("No space left on device")

    with pytest.raises(BackboneError, match="No space left on device"):
        fetching.fetch(TINY, full)


def test_licences_of_the_short_list_are_timms() -> None:
    """What the short list says of licences is what timm says, and timm has these weights."""
    told = {name: load.published(name)["license"] for name in fetching.SHORT_LIST}

    assert told == fetching.SHORT_LIST


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("Apache-2.0", True),
        ("mit", True),
        ("cc-by-nc-4.0", False),
        ("dinov3-license", False),
        ("unknown", False),
    ],
)
def test_only_licences_that_allow_every_use_are_permissive(licence: str, free: bool) -> None:
    """Non-commercial, own and unknown licences are not."""
    assert hub.permissive(licence) is free


def test_the_command_fetches_and_refuses_other_words(run_cli) -> None:
    """`backbones fetch NAME` answers with the record; what it cannot read is a usage error."""
    done = run_cli("backbones", "fetch", registry.DEFAULT, "--json")
    wrong = run_cli("backbones", "fetch")

    assert done.code == 0
    assert '"fresh":false' in done.out
    assert '"licence":"Apache-2.0"' in done.out
    assert wrong.code == 2
    assert "finetune backbones fetch NAME" in wrong.err
