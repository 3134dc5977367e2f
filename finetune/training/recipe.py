"""The rules that turn a strategy into a plan, every hyper-parameter with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from finetune.records import option_table
from finetune.records.analysis import Upright
from finetune.records.choices import FAMILY_NAMES, TUNED, Family, Similarity, Strategy
from finetune.records.decision import Augment, Plan
from finetune.records.errors import UsageError

# The default backbone's stages, so that the table can be explained without torch; a test compares.
DEFAULT_STAGES = ("stem", "1", "2", "3", "4", "5")
DEFAULT_SIDE_PX = 224
# Rate of the last tuned stage at batch 16, on (similar, different) data. AdamW's are measured
# (docs/log.md, 2026-11-23); Adam's are the same. SGD's follow Li et al. 2020: effective rates near
# .01 and .3 at batch 256, momentum .9, moved to batch 16. Adadelta and Adagrad: torch's default
# rates (1 and .01) lowered by the factor that Adam's default has to be.
RATES = {
    "adamw": (3e-4, 1e-3),
    "adam": (3e-4, 1e-3),
    "sgd": (1e-3, 5e-3),
    "adadelta": (0.3, 0.5),
    "adagrad": (3e-3, 5e-3),
}
# By what the rates above, measured on a convolutional network with BatchNorm, are multiplied for
# others, and whose practice that is: with the factor AdamW has 3e-5 and 1e-4
# (docs/decisions/0017-families.md).
FAMILY_FACTORS: dict[Family, tuple[float, str]] = {
    "batchnorm-convnet": (1.0, "docs/log.md, 2026-11-23"),
    "layernorm-convnet": (0.1, "5e-5 at batch 512 in Liu et al. 2022, ConvNeXt"),
    "plain-convnet": (0.1, "a tenth of its first training's in Girshick et al. 2014"),
    "vit": (0.1, "1e-4 at batch 128 in AutoGluon 1.4, 1e-5 in Touvron et al. 2022, DeiT III"),
    "hybrid": (0.1, "2.5e-4 at batch 1024, BatchNorm frozen, in Wu et al. 2022, TinyViT"),
}
HEAD_FACTOR = 3.0  # the head is new, the body is not; measured with the rates above
SLOWER = 3.0  # the rate is divided by this where a training falls apart (docs/log.md, 2026-11-24)
# From scratch SGD needs more: at batch 16, 0.025 gave a LeNet-5 on mnist_5k 96 %, 0.005 gave 90 %
# (docs/log.md, 2026-11-26). Goyal et al. 2017 have 0.1 at batch 256 for ResNets: 0.006 at 16.
SCRATCH_SGD = 0.025
# DeiT (Touvron et al. 2021) trains from nothing at 5e-4 at batch 512, 9e-5 at batch 16.
SCRATCH_ATTENTION: tuple[Family, ...] = ("vit", "hybrid")
SCRATCH_GENTLE = 0.1
SCRATCH_FACTOR = 4.0  # nothing to preserve: torch's own 2e-3 or so for Adam at this batch
WEIGHT_DECAY = {"adamw": 1e-2, "adam": 0.0, "sgd": 1e-4, "adadelta": 0.0, "adagrad": 0.0}
# Largest class by smallest; measured at 10 and 40 (docs/log.md, 2026-11-25), below it is a guess.
WEIGHED_FROM = 3.0
# With fewer validation images than this, a better model cannot be told from a luckier one: at 100
# images and one in ten decided differently, the standard error of the difference is 3 points.
TELLING_IMAGES = 100
# A trial takes so many steps, and of a training of more than a thousand a tenth: its word is about
# a training that is no more times longer than those it was measured on (6 times; docs/log.md).
TRIAL_STEPS = 100
TRIAL_SHARE = 0.1
# It sees its images so often: of more images seen three times its word was worth nothing, and one
# in two fell apart (docs/log.md, 2026-11-26, 1,000 images instead of 400).
TRIAL_EPOCHS = 8
TARGET_STEPS = 300  # docs/log.md, 2026-11-23; BiT's 500 at batch 512 is out of reach on a CPU
WARMUP = 0.1
# A trial warms up for as many steps as a training of `TARGET_STEPS`: in a third of them the rate
# threw some networks off, and the trial told of that and not of tuning (docs/log.md, 2026-11-24).
TRIAL_WARMUP = WARMUP * TARGET_STEPS / TRIAL_STEPS
# A model that learns from the validation images, too, has a quarter more. On near sets twice as
# many bring `deep` 4 points at 20 images a class and 2.4 from 40 to 200 (docs/log.md, 2026-11-25),
# a quarter more a third of that: beyond some hundred not worth a second training.
REFIT_BELOW = 100
EPOCHS = {"fewest": 10, "most": 40, "scratch": 60}
LOW_RESOLUTION_PX = 160  # BiT-HyperRule has the same kind of cut: small pictures are tuned small
TUNE_SIDE_PX = 128
VFLIP = 0.5  # where up and down mean nothing
AUGMENT = Augment(crop=0.6, flip=0.5, rotation_deg=10.0, translation=0.05, stretch=0.15, colour=0.2)


def trial_steps(plan: Plan, images: int) -> int:
    """Steps of a trial for a training on so many images."""
    return max(TRIAL_STEPS, round(TRIAL_SHARE * plan.epochs * math.ceil(images / plan.batch_size)))


def short(plan: Plan, images: int, all_images: int, *, one_size: bool = False) -> Plan:
    """The plan of a trial that learns from so many images: few steps, low resolution.

    Args:
        plan: Of the training that it stands for.
        images: How many the trial learns from.
        all_images: How many that training learns from.
        one_size: Whether the backbone takes pictures of no other size than the plan's.
    """
    steps = math.ceil(images / plan.batch_size)
    epochs = min(plan.epochs, max(1, round(trial_steps(plan, all_images) / steps)))
    side = plan.side_px if one_size else min(plan.side_px, TUNE_SIDE_PX)
    return replace(plan, epochs=epochs, side_px=side, warmup=TRIAL_WARMUP)


def slower(plan: Plan, times: int) -> Plan:
    """The plan at a rate that was lowered so often, since the training diverged at a larger."""
    factor = SLOWER**times
    text = f"{plan.why['lr']}; divided by {factor:g}: at {plan.lr:g} the training diverged"
    why = plan.why if times == 0 else {**plan.why, "lr": text}
    return replace(plan, lr=plan.lr / factor, head_lr=plan.head_lr / factor, why=why)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules for a plan look at; `rarest` and `commonest` count images of a class.

    `most_side_px` is the resolution that the budget allows, where it allows less than the rule's;
    `upright` is None where it was not measured. `validation` images are kept from training, and
    `refit` says whether the budget allows to train with them afterwards. `precision` is what the
    device computes in, and why.
    """

    images: int
    similarity: Similarity
    stages: tuple[str, ...] = DEFAULT_STAGES
    side_px: int = DEFAULT_SIDE_PX
    fixed_side: bool = False
    family: Family = "batchnorm-convnet"
    median_side_px: int | None = None
    most_side_px: int | None = None
    symbols: bool = False
    symbols_reason: str = "no class names given"
    upright: Upright | None = None
    rarest: int = 1
    commonest: int = 1
    classes: int = 1
    validation: int = 0
    refit: bool = True
    precision: tuple[str, str] = ("auto", "by the device")


def resolve(
    strategy: Strategy, facts: Facts, user: Mapping[str, Any], taps: tuple[str, ...] = ("top",)
) -> Plan:
    """Resolve every hyper-parameter, each with the rule or the user's option behind it.

    Args:
        strategy: What is to be done.
        facts: Size, distance and shape of the data and the backbone.
        user: Options given by hand, by field name of `Plan` or `Augment`.
        taps: The stages whose features the head reads; none where no data has chosen them yet.

    Raises:
        UsageError: an option out of range.
    """
    option_table.check(user)
    # what it says has become a fact
    user = {name: value for name, value in user.items() if (name, value) != ("precision", "auto")}
    if strategy not in TUNED:
        return _probe_plan(strategy, facts, taps)
    if facts.fixed_side and user.get("side_px", facts.side_px) != facts.side_px:
        raise UsageError(
            f"--image-size is {user['side_px']}, this backbone takes {facts.side_px} only",
            hint="Leave it out, or choose another --backbone.",
        )
    why: dict[str, str] = {"strategy": "see the reasons"}
    scratch = strategy == "scratch"
    side, why["side_px"] = _side(facts)
    batch, why["batch_size"] = _batch(facts.images)
    batch = int(user.get("batch_size", batch))
    optimiser = str(user.get("optimiser", "adamw"))
    why["optimiser"] = "steady on few images without tuning of its own (docs/log.md)"
    lr, why["lr"] = _rate(strategy, optimiser, batch, facts)
    lr = float(user.get("lr", lr))
    factor = 1.0 if scratch else HEAD_FACTOR
    epochs, why["epochs"] = _epochs(strategy, facts.images, batch)
    epochs = int(user.get("epochs", epochs))
    augment, augment_why = _augmentation(facts, user)
    refit, why["refit"] = _refit(strategy, facts)
    imbalance = facts.commonest / max(1, facts.rarest)
    why |= augment_why | {
        "tuned_stages": _STAGES_WHY[strategy],
        "taps": "the top features",
        "head_lr": "as the body's" if scratch else f"{factor:g} times the body's: it is new",
        "stage_decay": "all stages start from nothing"
        if scratch
        else "smaller learning rates toward the stem, whose features are the most general",
        "weight_decay": f"usual for {optimiser}; norms and biases have none",
        "warmup": "a tenth of the steps, then cosine",
        "patience": "half of the epochs, at least 6: a cosine schedule gains most near its end",
        "label_smoothing": "as measured (docs/log.md)",
        "dropout": "on the top features",
        "precision": facts.precision[1],
        "class_weights": _weights_why(imbalance),
    }
    plan = Plan(
        strategy=strategy,
        taps=taps,
        tuned_stages=tuned(strategy, facts.stages),
        side_px=side,
        epochs=epochs,
        batch_size=batch,
        optimiser=optimiser,
        lr=lr,
        head_lr=factor * lr,
        stage_decay=1.0 if scratch else 0.8,
        weight_decay=WEIGHT_DECAY[optimiser],
        warmup=WARMUP,
        patience=max(6, epochs // 2),
        label_smoothing=0.1,
        dropout=0.1,
        class_weights=imbalance >= WEIGHED_FROM,
        augment=augment,
        why={},
        refit=refit,
        precision=facts.precision[0],
    )
    direct = {f.name for f in fields(Plan)} & set(user)
    known = direct | ({f.name for f in fields(Augment)} & set(user))
    why |= dict.fromkeys(known, "user")
    return replace(plan, why=why, **{name: user[name] for name in direct})


def _probe_plan(strategy: Strategy, facts: Facts, taps: tuple[str, ...]) -> Plan:
    """The backbone stays frozen, so nothing that belongs to tuning is used."""
    names = {f.name for f in (*fields(Plan), *fields(Augment))} - {"why", "augment"}
    chosen = "the features with the least cross-validated log loss, by a standard error at least"
    why = dict.fromkeys(names, "not used: the backbone stays frozen") | {
        "strategy": "see the reasons",
        "side_px": "the backbone's input size",
        "taps": "the top features"
        if strategy == "linear-probe"
        else chosen
        if taps
        else f"chosen on the data: {chosen}",
    }
    return Plan(
        strategy=strategy,
        taps=taps,
        tuned_stages=(),
        side_px=facts.side_px,
        epochs=0,
        batch_size=0,
        optimiser="none",
        lr=0.0,
        head_lr=0.0,
        stage_decay=1.0,
        weight_decay=0.0,
        warmup=0.0,
        patience=0,
        label_smoothing=0.0,
        dropout=0.0,
        class_weights=False,
        augment=Augment(
            crop=1.0, flip=0.0, rotation_deg=0.0, translation=0.0, stretch=0.0, colour=0.0
        ),
        why=why,
    )


def tuned(strategy: Strategy, stages: tuple[str, ...]) -> tuple[str, ...]:
    """The stages whose parameters a strategy trains; the probes train none."""
    if strategy == "partial":
        return stages[-1:]
    if strategy == "deep":
        return stages[1:]
    return stages if strategy == "scratch" else ()


_STAGES_WHY = {
    "partial": "a few layers: the last stage",
    "deep": "a larger number of layers: all stages but the stem",
    "scratch": "everything starts from random values",
}


def _side(facts: Facts) -> tuple[int, str]:
    if facts.fixed_side:
        return facts.side_px, "this backbone takes one size only"
    if facts.median_side_px is not None and facts.median_side_px <= LOW_RESOLUTION_PX:
        side = min(TUNE_SIDE_PX, facts.side_px)
        reason = f"median short side is {facts.median_side_px} px (at most {LOW_RESOLUTION_PX})"
        return side, f"{reason}: more pixels add no detail and cost three times as much"
    if facts.most_side_px is not None and facts.most_side_px < facts.side_px:
        return facts.most_side_px, f"{facts.side_px} px would not fit the budget"
    return facts.side_px, "the backbone's input size: the images have as much detail"


def _batch(images: int) -> tuple[int, str]:
    for limit, batch in ((1000, 16), (10_000, 32)):
        if images < limit:
            return batch, f"{images} images, fewer than {limit}: enough steps in an epoch"
    return 64, f"{images} images"


def _rate(strategy: Strategy, optimiser: str, batch: int, facts: Facts) -> tuple[float, str]:
    near, far = RATES[optimiser]
    rate = near if facts.similarity == "similar" else far
    # Linear scaling for SGD (Goyal et al. 2017), square root for adaptive methods
    power = 1.0 if optimiser == "sgd" else 0.5
    scaled = rate * (batch / 16) ** power
    if strategy == "scratch":
        rate = SCRATCH_SGD if optimiser == "sgd" else near * SCRATCH_FACTOR
        scaled, text = rate * (batch / 16) ** power, f"{optimiser} from scratch"
        if facts.family not in SCRATCH_ATTENTION:
            return scaled, text
        return scaled * SCRATCH_GENTLE, f"{text}; times {SCRATCH_GENTLE:g} for attention (DeiT)"
    text = f"{optimiser} at batch {batch} on {facts.similarity} data (docs/log.md, Li et al. 2020)"
    factor, source = FAMILY_FACTORS[facts.family]
    if factor == 1.0:
        return scaled, text
    return scaled * factor, f"{text}; times {factor:g} for {FAMILY_NAMES[facts.family]} ({source})"


def _epochs(strategy: Strategy, images: int, batch: int) -> tuple[int, str]:
    if strategy == "scratch":
        return EPOCHS["scratch"], "from scratch takes long"
    steps = max(1, math.ceil(images / batch))
    epochs = min(EPOCHS["most"], max(EPOCHS["fewest"], math.ceil(TARGET_STEPS / steps)))
    return epochs, f"about {TARGET_STEPS} steps of {batch} images, {EPOCHS['fewest']} to " + str(
        EPOCHS["most"]
    ) + " epochs"


def _refit(strategy: Strategy, facts: Facts) -> tuple[bool, str]:
    if strategy == "scratch":
        return False, "off: for comparison only"
    if facts.validation < TELLING_IMAGES:
        return False, "not used: no validation images judge, all images are trained on anyway"
    each = facts.images / facts.classes
    if each >= REFIT_BELOW:
        return False, f"{each:.0f} images a class, {REFIT_BELOW} or more: a quarter more add little"
    if not facts.refit:
        return False, "a second training would not fit the budget"
    return True, f"{each:.0f} images a class, fewer than {REFIT_BELOW}: each one counts"


def _weights_why(imbalance: float) -> str:
    times = f"the largest class is {imbalance:.1f} times the smallest"
    if imbalance < WEIGHED_FROM:
        return f"{times}, less than {WEIGHED_FROM:g}"
    return (
        f"{times}, {WEIGHED_FROM:g} or more: 1/sqrt of the count, which found more of the rare "
        "classes and on average cost no accuracy (docs/log.md, 2026-11-25)"
    )


def _augmentation(facts: Facts, user: Mapping[str, Any]) -> tuple[Augment, dict[str, str]]:
    flip = 0.0 if facts.symbols else AUGMENT.flip
    free = not facts.symbols and facts.upright is not None and not facts.upright.upright
    augment = replace(AUGMENT, flip=flip, vflip=VFLIP if free else 0.0)
    given = {f.name: user[f.name] for f in fields(Augment) if f.name in user}
    state = "off" if facts.symbols else "on"
    why = {
        "flip": f"{state}: {facts.symbols_reason}",
        "vflip": _vflip_why(facts, on=free),
        "zoom_out": "off: not measured to pay (docs/log.md, 2026-11-26)",
        "crop": "objects stay in view with at least this share of the area",
        **dict.fromkeys(
            ("rotation_deg", "translation", "stretch", "colour"), "mild: keeps the class"
        ),
    }
    return replace(augment, **given), why


def _vflip_why(facts: Facts, *, on: bool) -> str:
    if facts.symbols or facts.upright is None:
        return f"off: {facts.symbols_reason if facts.symbols else 'not measured here'}"
    return f"{'on: up and down mean nothing' if on else 'off'}: {facts.upright.reason}"
