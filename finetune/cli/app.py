"""The commands: what was asked → workflow → answer or JSON → exit code."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetune import __version__
from finetune.cli import after
from finetune.cli.arguments import (
    DIR,
    FOLDER,
    OPTIONAL_DIR,
    PATHS,
    RUN,
    UNLABELLED,
    WORDS,
)
from finetune.cli.command import add
from finetune.cli.options import Asked
from finetune.records.errors import UsageError

if TYPE_CHECKING:
    from finetune.records.decision import Recommendation

app = typer.Typer(
    name="finetune",
    help="Transfer learning on a folder of images: one folder per class in, a classifier you can "
    "trust out. `finetune train DIR` analyzes the data, chooses how far to fine-tune, says why, "
    "does it, and proves what it got.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
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


@add(app, OPTIONAL_DIR)
def train(asked: Asked) -> None:
    """Train a classifier on DIR and prove it on images it never saw."""
    from finetune.backbones import ranks  # noqa: PLC0415
    from finetune.cli import (  # noqa: PLC0415
        progress,
        render_targets,
        render_training,
        style,
    )
    from finetune.records.target_result import TargetResult  # noqa: PLC0415
    from finetune.workflows.tracked import run_tracked  # noqa: PLC0415
    from finetune.workflows.train import help_training, repetition  # noqa: PLC0415

    options = asked.options
    if asked.from_run is not None:
        options = repetition(asked.from_run, options, asked.given)
    elif asked.directory is None:
        raise UsageError(
            "no folder of images, nor --from-run", hint="Give one: finetune train ./images."
        )
    if asked.errors is not None:
        after.require_errors(asked.errors, Path(options.data.root))
    if ranks.is_helper():
        help_training(options, asked.from_run)
        return
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        result = run_tracked(options, listener, asked.from_run, track=asked.track)
    if isinstance(result, TargetResult):
        render = render_targets.show_training
        after.answer(result, partial(render, verbose=asked.verbose), json=asked.json)
    else:
        show = partial(render_training.show_result, verbose=asked.verbose)
        after.answer(result, show, json=asked.json)
    if asked.errors is not None:
        after.write_errors(asked.errors, result)
    if result.stopped is not None:
        style.show_stop(result.stopped)
        raise typer.Exit(result.stopped.exit_code)
    if result.failed is not None:
        style.show_stop(result.failed)
        raise typer.Exit(result.failed.exit_code)
    if options.data.strict:
        after.require_no_warning(result.findings, result.run)


@add(app, OPTIONAL_DIR)
def recommend(asked: Asked) -> None:
    """Say which way of transfer fits and why. For DIR, or for --size and --similarity."""
    from finetune.cli import progress, render_advice, style  # noqa: PLC0415
    from finetune.records.codec import to_builtins, to_json  # noqa: PLC0415

    if asked.directory is None:
        show = partial(render_advice.show_recommendation, verbose=asked.verbose)
        after.answer(_by_table(asked), show, json=asked.json)
        return
    from finetune.workflows.recommend import run_recommendation  # noqa: PLC0415

    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_recommendation(asked.options, listener)
    if asked.json:
        flat = to_builtins(found)
        style.show_line(to_json(flat.pop("recommendation") | flat))
    else:
        command = after.as_training(asked.options.output.command)
        render_advice.show_advice(found, command, verbose=asked.verbose)


def _by_table(asked: Asked) -> Recommendation:
    """What the table says of a size and a similarity, without any data."""
    from finetune.decision import explain, table  # noqa: PLC0415
    from finetune.training import recipe  # noqa: PLC0415

    wanted = asked.options.decision
    size, similarity = wanted.size, wanted.similarity
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
    return explain.recommend(size, similarity, plan)


@add(app, DIR)
def check(asked: Asked) -> None:
    """Say what is wrong with the images of DIR. --labels: with their labels, too."""
    from finetune.cli import label_files, progress, render  # noqa: PLC0415
    from finetune.workflows.check import run_check  # noqa: PLC0415

    label_files.require(asked, Path(asked.options.data.root))
    shown = replace(asked.options, data=replace(asked.options.data, strict=False))
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        # all of it, before --strict ends the command
        found = run_check(shown, listener, labels=asked.labels)
    if found.labels is not None:
        label_files.write_suspects(asked, found.labels.suspects)
    written = bool(asked.csv_file or asked.label_studio)
    command = after.as_training(asked.options.output.command)
    show = partial(render.show_health, verbose=asked.verbose, written=written, command=command)
    after.answer(found, show, json=asked.json)
    if asked.options.data.strict and any(c.alarming for c in found.checks):
        raise typer.Exit(EXIT_FINDINGS)


@add(app, DIR)
def compare(asked: Asked) -> None:
    """Train every strategy on one split of DIR. Says what the table's choice cost."""
    from finetune.cli import progress, render_advice  # noqa: PLC0415
    from finetune.workflows.compare import run_comparison  # noqa: PLC0415

    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_comparison(asked.options, listener)
    command = after.as_training(asked.options.output.command)
    show = partial(render_advice.show_comparison, command=command, verbose=asked.verbose)
    after.answer(found, show, json=asked.json)


@add(app, DIR)
def features(asked: Asked) -> None:
    """Compute what train asks the network for, beforehand. In shards, by many processes."""
    from finetune.cli import progress, render_export  # noqa: PLC0415
    from finetune.records import sharding  # noqa: PLC0415
    from finetune.workflows.features import run_features  # noqa: PLC0415

    shard = sharding.read(asked.shard, os.environ)
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_features(asked.options, listener, shard)
    after.answer(found, render_export.show_features, json=asked.json)


@add(app, PATHS)
def predict(asked: Asked) -> None:
    """Classify images with a run. What cannot be read is an error record and exit code 3."""
    from finetune.cli import predicting  # noqa: PLC0415

    if not predicting.predict(asked):
        raise typer.Exit(EXIT_BAD_IMAGES)


@add(app, DIR)
def evaluate(asked: Asked) -> None:
    """Measure a run on labelled images. Accuracy, by class, confusion, calibration."""
    from finetune.cli import csv_files, progress, render  # noqa: PLC0415
    from finetune.records.answers import Evaluation  # noqa: PLC0415
    from finetune.workflows.evaluate import run_evaluation  # noqa: PLC0415

    root = Path(asked.options.data.root)
    if asked.errors is not None:
        csv_files.require("--errors", asked.errors, [], folder=root)
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_evaluation(
            root,
            asked.run,
            device=asked.options.backbone.device,
            unseen=asked.unseen,
            listener=listener,
            label_from=asked.options.data.label_from,
            label_column=asked.options.data.label_column,
            group=asked.options.data.group,
            robust=asked.robustness,
            doubts=asked.doubt,
        )
    show = partial(render.show_evaluation, verbose=asked.verbose)
    after.answer(found, show, json=asked.json)
    if asked.errors is not None:
        if isinstance(found, Evaluation):
            csv_files.write_errors(asked.errors, found.errors)
        else:
            csv_files.write_worst(asked.errors, found.worst)


@add(app, RUN, PATHS)
def explain(asked: Asked) -> None:
    """Show where the evidence for an answer lies. A picture and a row for each image."""
    from finetune.cli import csv_files, progress, render_explain, style  # noqa: PLC0415
    from finetune.records.codec import to_json  # noqa: PLC0415
    from finetune.workflows.explain import run_explanation  # noqa: PLC0415

    assert asked.run is not None  # an argument has a value
    file, out = asked.csv_file, asked.options.output.out
    if file is not None:
        csv_files.require("--csv", file, asked.paths)
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_explanation(
            asked.run,
            asked.paths,
            out=None if out is None else Path(out),
            label=asked.class_name,
            device=asked.options.backbone.device,
            listener=listener,
        )
    if file is not None:
        csv_files.write_explanations(file, found)
    if asked.json:
        for one in found:
            style.show_line(to_json(one))
    elif file is None:
        render_explain.show_explanations(found)
    if any(one.error for one in found):
        raise typer.Exit(EXIT_BAD_IMAGES)


@add(app, RUN, UNLABELLED)
def suggest(asked: Asked) -> None:
    """Say which images of FOLDER to label next. By doubt and variety, near duplicates once."""
    from finetune.cli import label_files, progress, render_labels  # noqa: PLC0415
    from finetune.workflows.suggest import run_suggestion  # noqa: PLC0415

    assert asked.run is not None  # arguments have values
    assert asked.directory is not None
    label_files.require_files(asked, asked.directory)
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_suggestion(
            asked.run,
            asked.directory,
            count=asked.count,
            device=asked.options.backbone.device,
            listener=listener,
        )
    label_files.write_suggestions(asked, found)
    written = bool(asked.csv_file or asked.label_studio)
    show = partial(render_labels.show_suggestions, written=written)
    after.answer(found, show, json=asked.json)


@add(app, RUN)
def export(asked: Asked) -> None:
    """Write a run for other programs. Checked on pictures against predict, or not written."""
    from finetune.cli import progress, render_export  # noqa: PLC0415
    from finetune.workflows.export import run_export  # noqa: PLC0415

    assert asked.run is not None  # an argument has a value
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_export(
            asked.run,
            asked.format,
            None if asked.options.output.out is None else Path(asked.options.output.out),
            images=asked.images,
            int8=asked.int8,
            max_loss=asked.max_loss,
            listener=listener,
        )
    after.answer(found, render_export.show_export, json=asked.json)


@add(app, RUN)
def report(asked: Asked) -> None:
    """Make the report of a run once more. Without pictures to mail it, or of a newer version."""
    from finetune.cli import progress, render_export  # noqa: PLC0415
    from finetune.workflows.report import run_report  # noqa: PLC0415

    assert asked.run is not None  # an argument has a value
    out = asked.options.output.out
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        found = run_report(
            asked.run,
            None if out is None else Path(out),
            no_images=asked.no_images,
            full=asked.full,
            listener=listener,
        )
    after.answer(found, render_export.show_report, json=asked.json)


@add(app, RUN)
def serve(asked: Asked) -> None:
    """Answer over HTTP. POST /predict, a page to drop pictures on, /health, /metrics."""
    from finetune.cli import progress  # noqa: PLC0415
    from finetune.workflows.serve import run_serve  # noqa: PLC0415

    assert asked.run is not None  # an argument has a value
    with progress.listener(verbose=asked.verbose, quiet=asked.quiet) as listener:
        run_serve(asked.run, asked.host, asked.port, asked.token, listener, asked.doubt)


@add(app, FOLDER)
def runs(asked: Asked) -> None:
    """List the runs: strategy, accuracy, date."""
    from finetune.cli import render, style  # noqa: PLC0415
    from finetune.records.codec import to_json  # noqa: PLC0415
    from finetune.runs import listing  # noqa: PLC0415

    home = asked.directory or Path("runs")
    rows = listing.rows(home)
    if asked.json:
        style.show_line(to_json(rows))
    elif rows:
        render.show_runs(rows)
    else:
        style.show_line(f"no runs in {home}; finetune train DIR makes one", error=True)


@add(app, WORDS)
def backbones(asked: Asked) -> None:
    """List the backbones whose weights are here. NAME: its stages; fetch NAME: get its weights."""
    from finetune.backbones import fetching, load  # noqa: PLC0415
    from finetune.cli import render_backbones  # noqa: PLC0415
    from finetune.workflows import anatomy  # noqa: PLC0415

    match asked.words:
        case ():
            after.answer(load.ready(), render_backbones.show_backbones, json=asked.json)
        case (name,) if name != "fetch":
            after.answer(anatomy.describe(name), render_backbones.show_anatomy, json=asked.json)
        case ("fetch", name):
            after.answer(fetching.fetch(name), render_backbones.show_fetched, json=asked.json)
        case _:
            raise UsageError(
                f"backbones: cannot read '{' '.join(asked.words)}'",
                hint="Give nothing, a NAME, or: finetune backbones fetch NAME.",
            )


@add(app)
def cache(asked: Asked) -> None:
    """Show or empty what is kept so that no image is run twice."""
    from finetune.cli import render  # noqa: PLC0415
    from finetune.storage import cache_usage  # noqa: PLC0415

    found = cache_usage.clear() if asked.clear else cache_usage.usage()
    after.answer(found, partial(render.show_cache, cleared=asked.clear), json=asked.json)
