"""Typer: options → request → pipeline → console or JSON → exit code; imports torch only late."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from finetune import __version__, durations
from finetune.errors import (
    INTERRUPTED,
    DataError,
    FinetuneError,
    UsageError,
    first_line,
    out_of_memory,
    safe_name,
)

if TYPE_CHECKING:
    from finetune.records import Finding, RunResult

app = typer.Typer(
    name="finetune",
    help="Transfer learning on a folder of images: one folder per class in, a classifier you can "
    "trust out. `finetune train DIR` looks at the data, chooses how far to fine-tune, says why, "
    "does it, and proves what it got.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The base of all usage errors, taken from typer: recent ones carry their own copy of click.
ClickException: Any = typer.BadParameter.__mro__[2]

EXIT_BAD_IMAGES = 3
EXIT_FINDINGS = 3

Json = Annotated[bool, typer.Option("--json", help="Answer as JSON on stdout, nothing else.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="A run folder; default: the newest in ./runs.")
]
Size = Annotated[
    Literal["small", "large"] | None, typer.Option(help="Amount of data; default: measured.")
]
Kind = Annotated[
    Literal["similar", "different"] | None,
    typer.Option("--similarity", help="Likeness to ImageNet; default: measured."),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="Any timm model, alexnet or lenet5; default: tf_efficientnet_lite0, or the run's that "
        "--weights names."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="A local checkpoint, a run to start from, or `random`; default: the backbone's "
        "pretrained ones."
    ),
]
Seed = Annotated[
    int,
    # what the generators of numpy and torch take alike
    typer.Option(min=0, max=2**63 - 1, help="Another seed is another split and another order."),
]
MaxPerClass = Annotated[
    int | None, typer.Option(help="Use at most so many images per class that are not test.")
]
ValFraction = Annotated[
    float, typer.Option(help="Share of the images that are not test, kept from tuning.")
]
TestFraction = Annotated[
    float, typer.Option(help="Share of all images kept for the one final test; 0 for none.")
]
BadImage = Annotated[
    Literal["skip", "error"], typer.Option(help="Leave unreadable images out, or stop.")
]
Group = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Images in whose file names it finds the same (its first bracket, else all it "
        "matches) stay on one side of every split: '^(patient[0-9]+)_'.",
    ),
]
LabelFrom = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Labels are in the names of files, not of folders: what its first bracket finds, such "
        r"as '^([a-z]+)\.' in cat.0.jpg.",
    ),
]
NearCopies = Annotated[
    Literal["together", "ignore"],
    typer.Option(help="Keep near copies on one side of a split, or do not look for them."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop with exit code 3 on any warning.")]
Errors = Annotated[
    Path | None,
    typer.Option(
        "--errors",
        metavar="FILE",
        help="Write the wrong answers to this CSV file: path, truth, answer, probability.",
        readable=False,
    ),
]

Policy = Annotated[
    Literal["measured", "table"],
    typer.Option(
        help="measured: short trials of tuning may overrule the classic table; table: its letter."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="What does not fit is not started: 90s, 10m, 1h30; default: 15m, unless you name "
        "the strategy."
    ),
]

_PLAN_NAMES = frozenset(
    {
        *("epochs", "batch_size", "optimiser", "lr", "patience", "side_px", "label_smoothing"),
        *("dropout", "weight_decay", "class_weights", "crop", "flip", "rotation_deg"),
        *("translation", "stretch", "colour"),
    }
)

BY_RULE = "default: by rule, shown with its reason"
PLAN = "Plan (each default comes from a rule)"
AUGMENTATION = "Augmentation of training images (0 switches one off; --crop 1 the crop)"


def _by_rule(text: str, panel: str = PLAN) -> Any:
    return typer.Option(help=f"{text}; {BY_RULE}.", rich_help_panel=panel)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from finetune import console  # noqa: PLC0415

        console.show_line(__version__)
        raise typer.Exit


@app.command()
def train(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="One folder per class.")
    ] = None,
    strategy: Annotated[
        Literal["auto", "linear-probe", "stage-probe", "partial", "deep", "scratch"],
        typer.Option(help="How far to fine-tune; auto decides by --policy."),
    ] = "auto",
    policy: Policy = "measured",
    budget: Budget = None,
    size: Size = None,
    similarity: Kind = None,
    backbone: Backbone = None,
    weights: Weights = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default: ./runs/….")] = None,
    seed: Seed = 0,
    max_per_class: MaxPerClass = None,
    val_fraction: ValFraction = 0.2,
    test_fraction: TestFraction = 0.2,
    on_bad_image: BadImage = "skip",
    group: Group = None,
    label_from: LabelFrom = None,
    near_copies: NearCopies = "together",
    strict: Strict = False,
    device: Device = "auto",
    epochs: Annotated[int | None, _by_rule("Passes over the training images")] = None,
    batch_size: Annotated[int | None, _by_rule("Images per step")] = None,
    optimiser: Annotated[str | None, _by_rule("sgd, adam, adamw, adadelta or adagrad")] = None,
    lr: Annotated[float | None, _by_rule("Learning rate of the last tuned stage")] = None,
    patience: Annotated[
        int | None, _by_rule("Stop after so many epochs without a better one")
    ] = None,
    side_px: Annotated[int | None, _by_rule("Resolution of tuning")] = None,
    label_smoothing: Annotated[
        float | None, _by_rule("Share of the label spread over all classes")
    ] = None,
    dropout: Annotated[float | None, _by_rule("Dropout in the head")] = None,
    weight_decay: Annotated[float | None, _by_rule("Weight decay")] = None,
    class_weights: Annotated[bool | None, _by_rule("Weigh rare classes more")] = None,
    crop: Annotated[float | None, _by_rule("Smallest share of the area kept", AUGMENTATION)] = None,
    flip: Annotated[float | None, _by_rule("Probability of a mirror image", AUGMENTATION)] = None,
    rotation_deg: Annotated[float | None, _by_rule("Largest rotation", AUGMENTATION)] = None,
    translation: Annotated[float | None, _by_rule("Largest shift as a share", AUGMENTATION)] = None,
    stretch: Annotated[
        float | None, _by_rule("Largest log change of the aspect", AUGMENTATION)
    ] = None,
    colour: Annotated[float | None, _by_rule("Largest change of colour", AUGMENTATION)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was killed or interrupted.")
    ] = False,
    from_run: Annotated[
        Path | None,
        typer.Option(
            help="Repeat this run: its folder (or DIR), options and seed, less what you give."
        ),
    ] = None,
    errors: Errors = None,
    json: Json = False,
    *,
    context: typer.Context,
) -> None:
    """Train a classifier on DIR and prove it on images it never saw."""
    given = {name: value for name, value in locals().items() if name != "context"}
    from finetune import console, pipeline, tables  # noqa: PLC0415

    if from_run is None and directory is None:
        raise UsageError(
            "no folder of images, nor --from-run", hint="Give one: finetune train ./images."
        )
    request = _request(given, [n for n in given if n in _PLAN_NAMES])
    if from_run is not None:
        request = pipeline.repetition(from_run, request, _typed(context))
    if errors is not None:
        tables.require("--errors", errors, [], folder=Path(request.root))
    with console.ConsoleListener() as listener:
        result = pipeline.run_training(request, listener, from_run)
    _answer(result, console.show_result, json=json)
    if errors is not None:
        _write_errors(errors, result)
    if result.stopped is not None:
        console.show_stop(result.stopped)
        raise typer.Exit(result.stopped.exit_code)
    if result.failed is not None:
        console.show_stop(result.failed)
        raise typer.Exit(result.failed.exit_code)
    if request.strict:
        _require_no_warning(result.findings, result.run)


@app.command()
def recommend(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Look at this data.")
    ] = None,
    policy: Policy = "measured",
    budget: Budget = None,
    size: Size = None,
    similarity: Kind = None,
    backbone: Backbone = None,
    weights: Weights = None,
    seed: Seed = 0,
    max_per_class: MaxPerClass = None,
    val_fraction: ValFraction = 0.2,
    test_fraction: TestFraction = 0.2,
    on_bad_image: BadImage = "skip",
    group: Group = None,
    label_from: LabelFrom = None,
    near_copies: NearCopies = "together",
    strict: Strict = False,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Say which way of transfer fits and why. For DIR, or for --size and --similarity."""
    given = dict(locals())
    from finetune import console  # noqa: PLC0415
    from finetune.records import to_builtins, to_json  # noqa: PLC0415

    if directory is None:
        from finetune import strategy as table  # noqa: PLC0415

        if size is None or similarity is None:
            raise UsageError(
                "no folder and not both of --size and --similarity",
                hint="finetune recommend DIR, or finetune recommend --size small "
                "--similarity different",
            )
        rule = table.rule_for(size, similarity)
        facts = table.Facts(images=table.TYPICAL_IMAGES[size], similarity=similarity)
        # which stages is for the data to say
        taps = () if rule.strategy == "stage-probe" else ("top",)
        plan = table.resolve(rule.strategy, facts, {}, taps)
        advice = table.recommend(size, similarity, plan)
        _answer(advice, console.show_recommendation, json=json)
        return
    from finetune import pipeline  # noqa: PLC0415

    with console.ConsoleListener() as listener:
        found = pipeline.run_recommendation(_request(given, []), listener)
    if json:
        flat = to_builtins(found)
        console.show_line(to_json(flat.pop("recommendation") | flat))
    else:
        console.show_advice(found)


@app.command()
def check(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="One folder per class.")],
    group: Group = None,
    label_from: LabelFrom = None,
    near_copies: NearCopies = "together",
    seed: Seed = 0,
    max_per_class: MaxPerClass = None,
    val_fraction: ValFraction = 0.2,
    test_fraction: TestFraction = 0.2,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Say what is wrong with the images of DIR. --json lists what passed, too."""
    given = dict(locals())
    from finetune import apply, console  # noqa: PLC0415

    given["strict"] = False  # all is shown first
    with console.ConsoleListener() as listener:
        found = apply.run_check(_request(given, []), listener)
    _answer(found, console.show_health, json=json)
    if strict and any(c.alarming for c in found.checks):
        raise typer.Exit(EXIT_FINDINGS)


@app.command()
def compare(  # noqa: PLR0913, PLR0917 - one parameter per option of the command
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="One folder per class.")],
    budget: Annotated[
        str | None,
        typer.Option(
            help="For all of it; what does not fit is not started: 90s, 10m, 1h30; default: none."
        ),
    ] = None,
    size: Size = None,
    similarity: Kind = None,
    backbone: Backbone = None,
    weights: Weights = None,
    seed: Seed = 0,
    max_per_class: MaxPerClass = None,
    val_fraction: ValFraction = 0.2,
    test_fraction: TestFraction = 0.2,
    on_bad_image: BadImage = "skip",
    group: Group = None,
    label_from: LabelFrom = None,
    near_copies: NearCopies = "together",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Train every strategy on one split of DIR. Says what the table's choice cost."""
    given = dict(locals())
    from finetune import console, pipeline  # noqa: PLC0415

    with console.ConsoleListener() as listener:
        found = pipeline.run_comparison(_request(given, []), listener)
    _answer(found, console.show_comparison, json=json)


@app.command()
def predict(
    paths: Annotated[
        list[Path],  # one that may not be read is an answer with an error in it
        typer.Argument(metavar="PATH…", help="Images or folders.", readable=False),
    ],
    run: RunOption = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Classes to list per image; default: 3, 1 in --csv."),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Write the answers to this file.", readable=False
        ),
    ] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Classify images with a run. What cannot be read is an error record and exit code 3."""
    from finetune import apply, console, tables  # noqa: PLC0415
    from finetune.records import to_json  # noqa: PLC0415

    if csv_file is not None:
        tables.require("--csv", csv_file, paths)
    with console.ConsoleListener() as listener:
        answers = apply.run_prediction(paths, run, top=top or 3, device=device, listener=listener)
    if csv_file is not None:
        tables.write_answers(csv_file, answers, listed=top or 1)
    if json:
        for answer in answers:
            full = {"path": answer.path, "error": answer.error} if answer.error else answer
            console.show_line(to_json(full))
    elif csv_file is None:
        console.show_predictions(answers)
    if any(a.error for a in answers):
        raise typer.Exit(EXIT_BAD_IMAGES)


@app.command()
def evaluate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="One folder per class.")],
    run: RunOption = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Leave out images the run was trained on.")
    ] = False,
    label_from: LabelFrom = None,
    device: Device = "auto",
    errors: Errors = None,
    json: Json = False,
) -> None:
    """Measure a run on labelled images. Accuracy, by class, confusion, calibration."""
    from finetune import apply, console, tables  # noqa: PLC0415

    if errors is not None:
        tables.require("--errors", errors, [], folder=directory)
    with console.ConsoleListener() as listener:
        found = apply.run_evaluation(
            *(directory, run),
            device=device,
            unseen=unseen,
            listener=listener,
            label_from=label_from,
        )
    _answer(found, console.show_evaluation, json=json)
    if errors is not None:
        tables.write_errors(errors, found.errors)


@app.command()
def runs(
    home: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where runs lie.")] = Path(
        "runs"
    ),
    json: Json = False,
) -> None:
    """List the runs: strategy, accuracy, date."""
    from finetune import console  # noqa: PLC0415
    from finetune import runs as store  # noqa: PLC0415
    from finetune.records import to_json  # noqa: PLC0415

    rows = store.rows(home)
    if json:
        console.show_line(to_json(rows))
    elif rows:
        console.show_runs(rows)
    else:
        console.show_line(f"no runs in {home}; finetune train DIR makes one", error=True)


@app.command()
def backbones(json: Json = False) -> None:
    """List the backbones whose weights are on this machine."""
    from finetune import backbones as known  # noqa: PLC0415
    from finetune import console  # noqa: PLC0415

    rows = known.ready()
    _answer(rows, console.show_backbones, json=json)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Empty it.")] = False,
    json: Json = False,
) -> None:
    """Show or empty what is kept so that no image is run twice."""
    from finetune import cache as store  # noqa: PLC0415
    from finetune import console  # noqa: PLC0415

    found = store.clear() if clear else store.usage()
    _answer(found, partial(console.show_cache, cleared=clear), json=json)


def _answer(found: Any, show: Callable[[Any], None], *, json: bool) -> None:
    """The answer on stdout: as one JSON value, or for people."""
    if not json:
        show(found)
        return
    from finetune import console  # noqa: PLC0415
    from finetune.records import to_json  # noqa: PLC0415

    console.show_line(to_json(found))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 done · 1 our bug · 2 usage · 3 a fault the user can mend · 130 interrupted.
    """
    quieten()
    try:
        with _signals():
            code = app(args=arguments, standalone_mode=False)
            with contextlib.suppress(BrokenPipeError):
                sys.stdout.flush()  # a full disk is told now, or never
    except FinetuneError as error:
        return _tell(error)
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    except ClickException as error:
        error.message = safe_name(error.message)  # a word of the command line need not be UTF-8
        error.show()
        return int(error.exit_code)
    except BrokenPipeError:
        return 0
    except Exception as error:
        return _unforeseen(error)
    return int(code or 0)


def _unforeseen(error: Exception) -> int:
    """Tell what the machine refused as a fault, all else with its traceback as a bug of ours."""
    if out_of_memory(error):
        return _tell(
            FinetuneError(
                first_line(error),
                hint="Give a smaller --side-px or --max-per-class, or end other programs; "
                "finetune train --resume goes on.",
            )
        )
    if isinstance(error, OSError) and error.strerror:
        return _tell(_refused(error))
    traceback.print_exc()
    sys.stderr.write("This is a bug in finetune; please report it with the lines above.\n")
    return 1


def _refused(error: OSError) -> FinetuneError:
    """What the system would not do with a file, or with the answer, which has no name."""
    if error.filename is None:
        return FinetuneError(
            f"the answer, or a file, cannot be written or read: {error.strerror}",
            hint="Make room where it goes, or send it elsewhere.",
        )
    return FinetuneError(
        f"cannot use {os.fsdecode(error.filename)}: {error.strerror}",
        hint="Check that it is there, that you may use it, and that its disk has room.",
    )


def _tell(fault: FinetuneError) -> int:
    """One line and what to try on stderr, where that can be written; returns the exit code."""
    from finetune import console  # noqa: PLC0415

    with contextlib.suppress(OSError):
        console.show_error(fault)
    return fault.exit_code


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM raises KeyboardInterrupt, which saves; a second ends at once.

    A signal that is ignored stays so (`nohup`).
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {n: h for n in kinds if (h := signal.getsignal(n)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def quieten() -> None:
    """Pillow warns of and logs what is odd in images: of no concern here, or told by a fault."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _request(given: dict[str, Any], option_names: list[str]) -> Any:
    from finetune.records import Request  # noqa: PLC0415

    options = {name: given[name] for name in option_names if given[name] is not None}
    plain = {
        name: value
        for name, value in given.items()
        if name not in {"directory", "out", "json", "budget", "from_run", "errors", *_PLAN_NAMES}
    }
    out, root, budget = given.get("out"), given["directory"], given.get("budget")
    if "backbone" in plain:
        plain["backbone"] = _backbone(plain["backbone"], plain["weights"])
    return Request(
        root="" if root is None else str(root),
        out=None if out is None else str(out),
        budget_s=None if budget is None else durations.seconds(budget),
        options=options,
        command=shlex.join(["finetune", *sys.argv[1:]]),
        **plain,
    )


def _typed(context: typer.Context) -> set[str]:
    """The names of the options that stand on the command line, or in the environment."""
    return {
        "budget_s" if name == "budget" else name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
    }


def _backbone(named: str | None, weights: str | None) -> str:
    """The backbone that was named; else that of the run whose weights are to be used."""
    from finetune.runs import as_start  # noqa: PLC0415
    from finetune.weights import DEFAULT  # noqa: PLC0415

    if named is not None:
        return named
    origin = as_start(weights)
    return DEFAULT if origin is None else origin.backbone


def _write_errors(path: Path, result: RunResult) -> None:
    """`--errors` of a training; what is not in the file is told."""
    from finetune import console, mistakes, tables  # noqa: PLC0415

    tables.write_errors(path, result.errors)
    if result.test is None:
        console.show_line(f"no test images: {path} lists no wrong answer", error=True)
    elif (wrong := mistakes.count(result.test)) > len(result.errors):
        text = f"{path} lists {len(result.errors)} of {wrong} wrong answers: the run has no more"
        console.show_line(text, error=True)


def _require_no_warning(findings: Sequence[Finding], run: str) -> None:
    """`--strict` after a training: what has shown only then.

    Raises:
        DataError: a finding that is more than a note; the run is kept.
    """
    alarms = [f for f in findings if f.severity != "note"]
    if alarms:
        raise DataError(
            f"--strict: {len(alarms)} warning(s) after the training: "
            + "; ".join(f"{f.code} {f.title}" for f in alarms),
            hint=f"The run is kept: its report, {run}/report.html, has the pictures and figures.",
        )
