"""The commands: options → request → workflow → answer or JSON → exit code."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from finetune import __version__
from finetune.cli import after
from finetune.cli.options import (
    AUGMENTATION,
    PLAN_NAMES,
    Backbone,
    BadImage,
    Budget,
    Device,
    Errors,
    Group,
    Json,
    Kind,
    LabelFrom,
    MaxPerClass,
    NearCopies,
    Policy,
    RunOption,
    Seed,
    Size,
    Strict,
    TestFraction,
    ValFraction,
    Weights,
    by_rule,
    make_request,
    typed,
)
from finetune.records.errors import UsageError

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
EXIT_BAD_IMAGES = 3
EXIT_FINDINGS = 3


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from finetune.cli import style  # noqa: PLC0415

        style.show_line(__version__)
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
    epochs: Annotated[int | None, by_rule("Passes over the training images")] = None,
    batch_size: Annotated[int | None, by_rule("Images per step")] = None,
    optimiser: Annotated[str | None, by_rule("sgd, adam, adamw, adadelta or adagrad")] = None,
    lr: Annotated[float | None, by_rule("Learning rate of the last tuned stage")] = None,
    patience: Annotated[
        int | None, by_rule("Stop after so many epochs without a better one")
    ] = None,
    side_px: Annotated[int | None, by_rule("Resolution of tuning")] = None,
    label_smoothing: Annotated[
        float | None, by_rule("Share of the label spread over all classes")
    ] = None,
    dropout: Annotated[float | None, by_rule("Dropout in the head")] = None,
    weight_decay: Annotated[float | None, by_rule("Weight decay")] = None,
    class_weights: Annotated[bool | None, by_rule("Weigh rare classes more")] = None,
    crop: Annotated[float | None, by_rule("Smallest share of the area kept", AUGMENTATION)] = None,
    flip: Annotated[float | None, by_rule("Probability of a mirror image", AUGMENTATION)] = None,
    rotation_deg: Annotated[float | None, by_rule("Largest rotation", AUGMENTATION)] = None,
    translation: Annotated[float | None, by_rule("Largest shift as a share", AUGMENTATION)] = None,
    stretch: Annotated[
        float | None, by_rule("Largest log change of the aspect", AUGMENTATION)
    ] = None,
    colour: Annotated[float | None, by_rule("Largest change of colour", AUGMENTATION)] = None,
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
    from finetune.cli import csv_files, progress, render_training, style  # noqa: PLC0415
    from finetune.workflows.train import repetition, run_training  # noqa: PLC0415

    if from_run is None and directory is None:
        raise UsageError(
            "no folder of images, nor --from-run", hint="Give one: finetune train ./images."
        )
    request = make_request(given, [n for n in given if n in PLAN_NAMES])
    if from_run is not None:
        request = repetition(from_run, request, typed(context))
    if errors is not None:
        csv_files.require("--errors", errors, [], folder=Path(request.root))
    with progress.ConsoleListener() as listener:
        result = run_training(request, listener, from_run)
    after.answer(result, render_training.show_result, json=json)
    if errors is not None:
        after.write_errors(errors, result)
    if result.stopped is not None:
        style.show_stop(result.stopped)
        raise typer.Exit(result.stopped.exit_code)
    if result.failed is not None:
        style.show_stop(result.failed)
        raise typer.Exit(result.failed.exit_code)
    if request.strict:
        after.require_no_warning(result.findings, result.run)


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
    from finetune.cli import progress, render_training, style  # noqa: PLC0415
    from finetune.records.codec import to_builtins, to_json  # noqa: PLC0415

    if directory is None:
        from finetune.decision import explain, table  # noqa: PLC0415
        from finetune.training import recipe  # noqa: PLC0415

        if size is None or similarity is None:
            raise UsageError(
                "no folder and not both of --size and --similarity",
                hint="finetune recommend DIR, or finetune recommend --size small "
                "--similarity different",
            )
        rule = table.rule_for(size, similarity)
        facts = recipe.Facts(images=table.TYPICAL_IMAGES[size], similarity=similarity)
        # which stages is for the data to say
        taps = () if rule.strategy == "stage-probe" else ("top",)
        plan = recipe.resolve(rule.strategy, facts, {}, taps)
        advice = explain.recommend(size, similarity, plan)
        after.answer(advice, render_training.show_recommendation, json=json)
        return
    from finetune.workflows.recommend import run_recommendation  # noqa: PLC0415

    with progress.ConsoleListener() as listener:
        found = run_recommendation(make_request(given, []), listener)
    if json:
        flat = to_builtins(found)
        style.show_line(to_json(flat.pop("recommendation") | flat))
    else:
        render_training.show_advice(found)


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
    from finetune.cli import progress, render  # noqa: PLC0415
    from finetune.workflows.check import run_check  # noqa: PLC0415

    given["strict"] = False  # all is shown first
    with progress.ConsoleListener() as listener:
        found = run_check(make_request(given, []), listener)
    after.answer(found, render.show_health, json=json)
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
    from finetune.cli import progress, render_training  # noqa: PLC0415
    from finetune.workflows.compare import run_comparison  # noqa: PLC0415

    with progress.ConsoleListener() as listener:
        found = run_comparison(make_request(given, []), listener)
    after.answer(found, render_training.show_comparison, json=json)


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
    from finetune.cli import csv_files, progress, render, style  # noqa: PLC0415
    from finetune.records.codec import to_json  # noqa: PLC0415
    from finetune.workflows.predict import run_prediction  # noqa: PLC0415

    if csv_file is not None:
        csv_files.require("--csv", csv_file, paths)
    with progress.ConsoleListener() as listener:
        answers = run_prediction(paths, run, top=top or 3, device=device, listener=listener)
    if csv_file is not None:
        csv_files.write_answers(csv_file, answers, listed=top or 1)
    if json:
        for answer in answers:
            full = {"path": answer.path, "error": answer.error} if answer.error else answer
            style.show_line(to_json(full))
    elif csv_file is None:
        render.show_predictions(answers)
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
    from finetune.cli import csv_files, progress, render  # noqa: PLC0415
    from finetune.workflows.evaluate import run_evaluation  # noqa: PLC0415

    if errors is not None:
        csv_files.require("--errors", errors, [], folder=directory)
    with progress.ConsoleListener() as listener:
        found = run_evaluation(
            *(directory, run),
            device=device,
            unseen=unseen,
            listener=listener,
            label_from=label_from,
        )
    after.answer(found, render.show_evaluation, json=json)
    if errors is not None:
        csv_files.write_errors(errors, found.errors)


@app.command()
def runs(
    home: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where runs lie.")] = Path(
        "runs"
    ),
    json: Json = False,
) -> None:
    """List the runs: strategy, accuracy, date."""
    from finetune.cli import render, style  # noqa: PLC0415
    from finetune.records.codec import to_json  # noqa: PLC0415
    from finetune.runs import listing  # noqa: PLC0415

    rows = listing.rows(home)
    if json:
        style.show_line(to_json(rows))
    elif rows:
        render.show_runs(rows)
    else:
        style.show_line(f"no runs in {home}; finetune train DIR makes one", error=True)


@app.command()
def backbones(json: Json = False) -> None:
    """List the backbones whose weights are on this machine."""
    from finetune.backbones import load  # noqa: PLC0415
    from finetune.cli import render  # noqa: PLC0415

    rows = load.ready()
    after.answer(rows, render.show_backbones, json=json)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Empty it.")] = False,
    json: Json = False,
) -> None:
    """Show or empty what is kept so that no image is run twice."""
    from finetune.cli import render  # noqa: PLC0415
    from finetune.storage import cache_usage  # noqa: PLC0415

    found = cache_usage.clear() if clear else cache_usage.usage()
    after.answer(found, partial(render.show_cache, cleared=clear), json=json)
