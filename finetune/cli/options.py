"""The options of the command line, made from their table, and what stands on it as a record."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from finetune.records import durations, option_table
from finetune.records.answer_files import SortBy
from finetune.records.choices import Format
from finetune.records.errors import UsageError
from finetune.records.option import Group, Option
from finetune.records.options import Options, Request, resolved
from finetune.records.unsure import NO_DOUBT, DoubtOptions

TITLES: dict[Group, str] = {
    "data": "Data",
    "decision": "Decision",
    "training": "Training",
    "augmentation": "Augmentation of training images",
    "output": "Output",
}
_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "flag": bool,
    "switch": bool,
    "file": Path,
    "folder": Path,
    "names": list[str],
}
_OLD = "old_"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What stands on a command line: what the workflows get, and what the command itself reads.

    `given` are the names of the options that were typed, or are in the environment.
    """

    options: Options
    given: frozenset[str]
    directory: Path | None = None
    paths: tuple[Path, ...] = ()
    words: tuple[str, ...] = ()
    run: Path | None = None
    from_run: Path | None = None
    unseen: bool = False
    robustness: bool = False
    labels: bool = False
    no_images: bool = False
    full: bool = False
    top: int | None = None
    class_name: str | None = None
    csv_file: Path | None = None
    label_studio: Path | None = None
    jsonl: Path | None = None
    parquet: Path | None = None
    features: Path | None = None
    sort_into: Path | None = None
    sort_by: SortBy = "copy"
    count: int = 50
    track: tuple[str, ...] = ()
    shard: str | None = None
    errors: Path | None = None
    clear: bool = False
    verbose: bool = False
    quiet: bool = False
    json: bool = False
    format: Format = "onnx"
    images: Path | None = None
    int8: bool = False
    max_loss: float = 1.0
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    doubt: DoubtOptions = NO_DOUBT


def parameters(command: str) -> list[inspect.Parameter]:
    """The options of a command as parameters of a function, old names hidden."""
    made = []
    for group, rows in option_table.of(command).items():
        for option in rows:
            made.append(_parameter(option, option.name, option.flag, group))
            if option.old is not None:
                made.append(_parameter(option, f"{_OLD}{option.name}", option.old, None))
    return made


def _parameter(option: Option, name: str, flag: str, group: Group | None) -> inspect.Parameter:
    """One of them; one without a group is hidden, and None where it is not given."""
    literal: Any = Literal
    kind = literal[option.choices] if option.choices else _TYPES[option.kind]
    default = None if group is None else option_table.DEFAULTS[option.name]
    extra = [f"default: {option.otherwise}"] if option.otherwise else []
    if option.range and option.metavar is None:
        extra.append(option.range)
    info = typer.Option(
        f"{flag}/{flag.replace('--', '--no-', 1)}" if option.kind == "switch" else flag,
        help=f"{option.help}  [{'; '.join(extra)}]" if extra else option.help,
        metavar=option.metavar,
        readable=option.kind != "file",
        show_default=False,
        hidden=group is None,
        rich_help_panel=None if group is None else TITLES[group],
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind if default is not None else kind | None, info],
    )


def asked(values: Mapping[str, Any], given: frozenset[str]) -> Asked:
    """The record of a command line.

    Args:
        values: By the names of parameters.
        given: Those of them that stand on the command line, or in the environment.

    Raises:
        UsageError: an option by both its names, or a value that it does not take.
    """
    values, given = _renamed(values, given)
    if values.get("budget_s") is not None:
        values["budget_s"] = durations.seconds(values["budget_s"])
    if values.get("max_latency_s") is not None:
        values["max_latency_s"] = durations.latency(values["max_latency_s"])
    option_table.check(values)
    if values.get("verbose") and values.get("quiet"):
        raise UsageError("--verbose and --quiet", hint="Give one of them.")
    own = {f.name for f in fields(Asked)} & values.keys()
    return Asked(
        options=resolved(_request(values)),
        given=given,
        **{name: values[name] for name in own - {"paths", "words", "track"}},
        doubt=DoubtOptions(
            **{f.name: values[f.name] for f in fields(DoubtOptions) if f.name in values}
        ),
        paths=tuple(values.get("paths", ())),
        words=tuple(values.get("words") or ()),
        track=tuple(values.get("track") or ()),
    )


def _renamed(
    values: Mapping[str, Any], given: frozenset[str]
) -> tuple[dict[str, Any], frozenset[str]]:
    """The same with old names told and replaced by those of today."""
    from finetune.cli import style  # noqa: PLC0415

    now, typed = dict(values), given
    for name in [n for n in now if n.startswith(_OLD)]:
        value, today = now.pop(name), name.removeprefix(_OLD)
        if value is None:
            continue
        old, new = option_table.NAMED[today].old, option_table.flag(today)
        if today in typed:
            raise UsageError(
                f"{old} and {new} are the same option",
                hint=f"Give {new} alone: {old} is its old name.",
            )
        style.show_line(f"{old} is now {new}", error=True)
        now[today] = value
        typed = typed - {name} | {today}
    return now, typed


def _request(values: Mapping[str, Any]) -> Request:
    """What the workflows are asked for, in one row."""
    known = {f.name for f in fields(Request)} & values.keys()
    plain = {name: values[name] for name in known}
    if "backbone" in plain:
        plain["backbone"] = _backbone(
            plain["backbone"], plain.get("start_from") or plain.get("weights")
        )
    out, root = values.get("out"), values.get("directory")
    options = {n: v for n, v in values.items() if n in option_table.OVERRIDES and v is not None}
    return Request(
        **plain
        | {
            "root": "" if root is None else str(root),
            "out": None if out is None else str(out),
            "options": options,
            "command": shlex.join(["finetune", *sys.argv[1:]]),
        }
    )


def _backbone(named: str | None, weights: str | None) -> str:
    """The backbone that was named; else that of the run whose weights are to be used."""
    from finetune.backbones.registry import DEFAULT  # noqa: PLC0415
    from finetune.runs.start import as_start  # noqa: PLC0415

    if named is not None:
        return named
    origin = as_start(weights)
    return DEFAULT if origin is None else origin.backbone
