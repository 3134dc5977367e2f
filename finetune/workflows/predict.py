"""The story of `predict`: an answer or a fault for every image, as it comes; torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from finetune.backbones import prepared
from finetune.backbones.features import BATCH
from finetune.data import scales
from finetune.deploy import answer_files, doubt, outputs, predictor, sorting, stream
from finetune.deploy.doubt import Policy
from finetune.deploy.predictor import Predictor
from finetune.deploy.stream import Answer, Answering
from finetune.records.answer_files import AnswerFiles
from finetune.records.answers import Prediction
from finetune.records.errors import UsageError
from finetune.records.events import Listener
from finetune.records.run import RunFacts
from finetune.records.unsure import NO_DOUBT, DoubtOptions
from finetune.runs import listing, run_folder
from finetune.sources import to_classify
from finetune.sources.archives import Found
from finetune.workflows.kept_answers import KeptAnswers

_NAMED = 10  # unreadable pictures that are told where a file has them all
NO_FILES = AnswerFiles()


def run_prediction(  # noqa: PLR0913 - what a person can ask for
    paths: Sequence[Path],
    run: Path | None,
    *,
    top: int,
    device: str,
    listener: Listener,
    files: AnswerFiles = NO_FILES,
    listed: BinaryIO | None = None,
    doubts: DoubtOptions = NO_DOUBT,
) -> Iterator[Prediction]:
    """`finetune predict`: an answer or a fault for every image, in their order.

    Args:
        paths: Files, folders, patterns, archives; `-` for a list of them.
        run: The run's folder; None for the newest.
        top: How many classes to list per image.
        device: `auto`, `cpu`, `cuda`, `mps`.
        listener: Hears of progress.
        files: What is written; whole once the last answer has been taken.
        listed: The list.
        doubts: When an answer is to be unsure, unknown, or a set.

    Raises:
        UsageError: options do not go together, or a file cannot be written.
        AnswersError: `resume` finds nothing that it can go on with.
        DataError: a folder or pattern without images.
        RunError: no run.
    """
    prepared.require_device(device)
    place = run or listing.latest()
    facts = run_folder.load_facts(place)
    policy = doubt.resolve(facts, doubts)
    _require(files, paths, facts)
    for reason in policy.reasons:
        listener.note(reason)
    total = to_classify.count(paths)
    many = "images" if total is None else f"{total:,} image{'s' if total != 1 else ''}"
    listener.step(f"classifying {many} with {place}")
    work = _Work(place, facts, policy, top, device, listener, total)
    tally = to_classify.Tally()
    return _told(work, to_classify.stream(paths, listed, tally), tally, files)


def _require(files: AnswerFiles, paths: Sequence[Path], facts: RunFacts) -> None:
    """Refuse what does not go together before anything is read."""
    if files.features is not None and not files.answers:
        raise UsageError(
            f"--features {files.features} has rows, and no names of pictures",
            hint=f"Add --jsonl {files.features.with_suffix('.jsonl')}, whose lines are its rows.",
        )
    if files.resume and not files.answers:
        raise UsageError(
            "--resume, and no file to go on with", hint="Add --jsonl, --csv or --parquet."
        )
    if files.parquet is not None:
        answer_files.require_parquet()
    if files.sort_into is not None:
        outputs.require_classes(facts, "--sort-into", "there is no one folder for an image")
        data = Path(facts.data_root) if facts.data_root else None
        given = [p for p in paths if str(p) != to_classify.LIST]
        sorting.require("--sort-into", files.sort_into, given, data)


@dataclass(frozen=True)
class _Work:
    """What answers: a run, and how it was asked."""

    run: Path
    facts: RunFacts
    policy: Policy
    top: int
    device: str
    listener: Listener
    total: int | None

    def model(self, *, featuring: bool) -> Predictor:
        """Its predictor; the engine of one that is asked for features gives what its head reads."""
        if featuring:
            return predictor.featuring(self.run, self.facts, self.device, self.listener)
        count = BATCH if self.total is None else self.total
        return predictor.of_run(
            self.run, self.facts, device=self.device, images=count, listener=self.listener
        )

    def prediction(self, answer: Answer) -> Prediction:
        """An answer as a record."""
        return stream.prediction(answer, self.policy, self.facts.head.temperature, self.top)


def _told(
    work: _Work, found: Iterator[Found], tally: to_classify.Tally, files: AnswerFiles
) -> Iterator[Prediction]:
    """The answers, into files where these are wanted, with how far they are; then the notes."""
    first = next(found, None)
    items = found if first is None else chain([first], found)
    answering = None
    if first is not None:  # else no network is read
        answering = Answering(work.model(featuring=files.features is not None))
    answers: Generator[Prediction]
    if files == NO_FILES:
        answers = (work.prediction(a) for a in (answering.answers(items) if answering else ()))
    else:
        answers = _filed(work, answering, items, files)
    with contextlib.closing(answers):
        for done, answer in enumerate(answers, 1):
            yield answer
            if done % BATCH == 0 or done == work.total:
                work.listener.progress(done, work.total or 0)
    for text in (*tally.told(), *(scales.told(answering.unseen) if answering else ())):
        work.listener.note(text)


def _filed(
    work: _Work,
    answering: Answering | None,
    items: Iterator[Found],
    files: AnswerFiles,
) -> Generator[Prediction]:
    """The answers, those of a stopped work first, with their files once the last was taken."""
    model = None if answering is None else answering.model
    width = max(stop for _, stop in model.engine.layout.values()) if model is not None else 1
    columns = min(files.columns, len(work.facts.classes))
    kept = KeptAnswers(files, width=width, columns=columns)
    bad = 0
    try:
        again = kept.pass_by(items)
        if model is not None:
            asked = Answering(model).answers(found for found, _ in again)
            kept.require_same([work.prediction(a) for a in asked], [there for _, there in again])
        if len(kept):
            work.listener.note(f"going on after {len(kept):,} answers in {kept.place}")
        for answer in chain(kept.known(), _kept(work, answering, items, kept)):
            bad += answer.error is not None
            if answer.error is not None and files.answers and bad <= _NAMED:
                work.listener.note(answer.error)
            yield answer
        kept.finish()
        _tell(work, kept, files, bad)
    finally:
        if kept.close():
            work.listener.note(f"{len(kept):,} answers are kept in {kept.place}: --resume goes on")


def _kept(
    work: _Work, answering: Answering | None, items: Iterator[Found], kept: KeptAnswers
) -> Iterator[Prediction]:
    """New answers, each told once it is kept."""
    answers = answering.answers(items) if answering is not None else iter(())
    while some := list(islice(answers, BATCH)):
        rows = [(answer, work.prediction(answer)) for answer in some]
        kept.add(rows)
        yield from (prediction for _, prediction in rows)


def _tell(work: _Work, kept: KeptAnswers, files: AnswerFiles, bad: int) -> None:
    """What was written."""
    unread = f", {bad:,} of them of files that cannot be read" if bad else ""
    for path in files.answers.values():
        work.listener.note(f"{path}: {len(kept):,} answers{unread}")
    if files.features is not None:
        work.listener.note(f"{files.features}: as many rows of features{', NaN there' * (bad > 0)}")
    if kept.sorter is not None and kept.sorter.left:
        work.listener.note(
            f"{kept.sorter.left:,} image(s) not sorted: they lie in {files.sort_into} already"
        )
