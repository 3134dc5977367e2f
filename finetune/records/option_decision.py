"""The options that say how far to fine-tune, or what decides it."""

from __future__ import annotations

from finetune.records.option import Option

METRICS = (
    *("accuracy", "balanced-accuracy", "macro-f1", "log-loss"),
    *("map", "rmse", "mae", "r2"),
)
DECISION = (
    Option(
        name="strategy",
        commands="train",
        choices=("auto", "linear-probe", "stage-probe", "partial", "deep", "scratch", "blend"),
        default="auto",
        help="How far to fine-tune; auto decides by --policy; blend: the tuned network and the "
        "best probe answer together.",
    ),
    Option(
        name="single",
        kind="flag",
        commands="train compare",
        help="One network answers: no blend of the tuned network and the probe.",
    ),
    Option(
        name="policy",
        commands="train recommend",
        choices=("measured", "table"),
        default="measured",
        help="measured: short trials of tuning may overrule the classic table; table: its letter.",
    ),
    Option(
        name="budget_s",
        typed="--budget",
        commands="train recommend compare",
        ends=(0.001, 1e9),
        metavar="TIME",
        unset="15m; none for compare, or where you name the strategy",
        help="What does not fit is not started: 90s, 10m, 1h30.",
    ),
    Option(
        name="size",
        commands="train recommend compare",
        choices=("small", "large"),
        unset="measured",
        help="Amount of data.",
    ),
    Option(
        name="similarity",
        commands="train recommend compare",
        choices=("similar", "different"),
        unset="measured",
        help="Similarity to ImageNet.",
    ),
    Option(
        name="prior",
        commands="train recommend compare",
        default="train",
        metavar="NAME|FILE",
        help="Shares of the classes where the model will be used: as in train, uniform, or a CSV "
        "or JSON file of class and share.",
    ),
    Option(
        name="metric",
        commands="train recommend compare",
        choices=METRICS,
        unset="accuracy; balanced-accuracy with --prior uniform; map of labels; rmse of numbers",
        help="What models are compared by: of classes the first three, of labels map, of numbers "
        "rmse, mae or r2; log-loss of both classes and labels.",
    ),
    Option(
        name="loss",
        commands="train recommend compare",
        choices=("cross-entropy", "bce", "mse", "mae", "huber"),
        unset="cross-entropy of classes, bce of labels, mse of numbers",
        help="What training makes small: numbers may have the absolute error, which outliers move "
        "less, or Huber's.",
    ),
)
