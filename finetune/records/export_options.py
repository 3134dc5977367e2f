"""The rows of the option table for what leaves the house: exports, answers over HTTP, reports."""

from __future__ import annotations

from finetune.records.option import Option

EXPORT = (
    Option(
        name="format",
        commands="export",
        choices=("onnx", "openvino", "pt2", "hub", "triton"),
        default="onnx",
        help="onnx, OpenVINO's, torch's (pt2), timm's hub layout, or a Triton folder.",
    ),
    Option(
        name="images",
        kind="folder",
        commands="export",
        metavar="DIR",
        unset="the run's own, where they still lie there",
        help="Pictures to check the export on; for --int8, in one folder per class or with a "
        "table of labels or numbers, to measure its loss on.",
    ),
    Option(
        name="int8",
        kind="flag",
        commands="export",
        help="Layers in 8 bits, for onnx, openvino and triton: a quarter of the size. The "
        "accuracy, mAP or RMSE that it costs is measured on held-out images.",
    ),
    Option(
        name="max_loss",
        kind="float",
        commands="export",
        metavar="POINTS",
        default=1.0,
        ends=(0.0, 100.0),
        help="With --int8: write nothing where it loses more: points of accuracy, of mAP for "
        "labels; for numbers percent by which RMSE rises.",
    ),
    Option(
        name="host",
        commands="serve",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="Where to listen; any but this machine's own needs --token.",
    ),
    Option(
        name="port",
        kind="int",
        commands="serve",
        default=8000,
        ends=(0, 65535),
        help="Where to listen; 0 for any that is free.",
    ),
    Option(
        name="token",
        commands="serve",
        metavar="TEXT",
        unset="FINETUNE_TOKEN of the environment, else none",
        help="What requests must bear.",
    ),
    Option(
        name="no_images",
        kind="flag",
        commands="train report",
        help="Make the report without pictures, to be mailed.",
    ),
    Option(
        name="full",
        kind="flag",
        commands="report",
        help="Measure robustness and draw heat maps, too, and keep both in the run.",
    ),
)
