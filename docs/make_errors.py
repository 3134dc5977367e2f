"""Writes `errors.md` beside this file: every error and every finding, read from the code.

Run `python docs/make_errors.py` after a change of a message; a test compares page and code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import finetune
from finetune.data import checks
from finetune.metrics import verdict
from finetune.records import errors
from finetune.sources import findings
from finetune.workflows import faults

PACKAGE = Path(finetune.__file__).parent
PAGE = Path(__file__).with_name("errors.md")
HEAD = """# Errors and findings
Made from the code by `python docs/make_errors.py`. What stands in braces is filled in: the value,
the path, the reason. An error is one line on stderr with one thing to try, and ends the command
with its exit code: 2 for a command line that makes no sense, 3 for a fault you can mend. For
`predict` an image that cannot be read is an answer with an error in it, and exit code 3 at the end.
"""
FINDINGS = """
## Findings about the data
`finetune check DIR` shows all of them with numbers and files; `train`, `recommend` and `compare`
what did not pass. With `--strict` a warning or an error ends the command with exit code 3, before
the training where the images show it; FT21x are about a result, and the run is kept.

| code | severity | what | what to do |
| --- | --- | --- | --- |
"""
LATE = """
## Findings after a training
The model is finished and kept. Exit code 3 where it was not tested (FT201) or is not where it was
to go (FT204), 1 for a bug of ours (FT209), else 0.

| code | severity | what | what to do |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Raised:
    """One place where an error is raised."""

    module: str
    kind: str
    message: str
    hint: str

    @property
    def exit_code(self) -> int:
        """That of its class."""
        return int(getattr(errors, self.kind).exit_code)


def kinds() -> set[str]:
    """Names of the classes of errors."""
    known = vars(errors).values()
    return {
        k.__name__ for k in known if isinstance(k, type) and issubclass(k, errors.FinetuneError)
    }


def raised() -> Iterator[Raised]:
    """Every error that is made in the package, in the order of modules and lines."""
    names = kinds()
    trees = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(
            path.read_text("utf-8")
        )
        for path in PACKAGE.rglob("*.py")
    }
    shared = {n: v for tree in trees.values() for n, v in _constants(tree).items() if n.isupper()}
    for module, tree in sorted(trees.items()):
        known = shared | _constants(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            kind = _kind(node, module)
            hint = next((k.value for k in node.keywords if k.arg == "hint"), None)
            if kind in names and hint is not None:
                yield Raised(module, kind, text(node.args[0], known), text(hint, known))


def _kind(call: ast.Call, module: str) -> str:
    """The class that a call makes; `ImageError` words its message itself, in `records.errors`."""
    name = ast.unparse(call.func)
    return "ImageError" if module == "records.errors" and name == "super().__init__" else name


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Names that are given one text in a module, wherever that is."""
    given: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            given.setdefault(node.targets[0].id, []).append(node.value)
    texts = (ast.JoinedStr, ast.Constant, ast.BinOp)
    return {n: v[0] for n, v in given.items() if len(v) == 1 and isinstance(v[0], texts)}


def text(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """A message as a template: what is computed stands in braces."""
    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(text(part, known) for part in node.values)
        case ast.BinOp(op=ast.Add()):
            return text(node.left, known) + text(node.right, known)
        case ast.IfExp():
            return text(node.body, known)
        case ast.BoolOp(op=ast.Or()):  # the last is what holds always
            return text(node.values[-1], known)
        case ast.Name() | ast.FormattedValue(value=ast.Name()):
            name = _subject(node)
            return text(known[name], known) if name in known else "{" + name + "}"
        case ast.Attribute() if node.attr in known:
            return text(known[node.attr], known)
    return "{" + _subject(node) + "}"


def _subject(node: ast.AST) -> str:
    """What an expression is about, in one word: `error` of `first_line(error)`."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            return node.attr
        case ast.Subscript(slice=ast.Constant(value=str() as key)):
            return key
        case ast.Call(func=ast.Attribute(value=ast.Name() as name)):
            return name.id
        case ast.Call(args=[first, *_]):
            return _subject(first)
        case ast.BoolOp():
            return _subject(node.values[-1])
        case ast.FormattedValue() | ast.Subscript():
            return _subject(node.value)
    inner = next(ast.iter_child_nodes(node), None)
    return "…" if inner is None else _subject(inner)


def page() -> str:
    """The whole page."""
    rows = sorted(set(raised()), key=lambda r: (r.exit_code, r.kind, r.module, r.message, r.hint))
    lines = ["", "## Errors", "| exit code | kind | message | what to try |"]
    lines.append("| --- | --- | --- | --- |")
    lines += [
        _row(str(r.exit_code), f"`{r.kind}` in `{r.module}`", r.message, r.hint) for r in rows
    ]
    kinds = [*(kind for kind, _ in checks.CHECKS), findings.SCALED, *verdict.KINDS]
    found = [_row(k.code, k.severity, k.title, k.hint) for k in kinds]
    late = [_row(k.code, k.severity, k.title, k.hint) for k in faults.KINDS]
    parts = ["\n".join(lines), FINDINGS + "\n".join(sorted(found)), LATE + "\n".join(late)]
    return HEAD + "\n".join(parts) + "\n"


def _row(*cells: str) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
