"""Promises of the house: rooms stand in an order, imports go down only, files stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import finetune

PACKAGE = Path(finetune.__file__).parent
README = PACKAGE.parent / "README.md"
# From the ground to the roof. A room imports from rooms before it, never from one after it.
ROOMS = (
    *("records", "storage", "metrics", "heads", "pictures", "sources", "data", "backbones"),
    *("runs", "training"),
    *("deploy", "analysis", "decision", "report", "tracking", "workflows", "cli"),
)
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py" and path.parent != PACKAGE
}
# These wait for torch only inside a function that needs it.
HEAVY = {
    "backbones.anatomy",
    *("backbones.architectures", "backbones.engine", "backbones.load", "backbones.stages"),
    *("backbones.networks", "backbones.torch_maps"),
    *(
        "backbones.tensors",
        "backbones.precision",
        "training.augment",
        "training.checkpoint",
        "training.holdout",
    ),
    *("training.loop", "training.setup", "training.state", "training.losses", "training.prefetch"),
    *("training.objective", "decision.target_tuning"),
    *("decision.baseline", "decision.blend", "decision.refit", "decision.tuned_near"),
    *("decision.timing", "decision.trials", "deploy.whole_network", "deploy.hub"),
}
LIGHT = sorted(FILES.keys() - HEAVY)
STATEMENTS, LINES, FIELDS = 40, 400, 12
# Records whose fields are all read together: what a file on disk holds, or one row of a table.
WHOLE = {
    "TargetMetrics",
    "TargetResult",
    "Candidate",
    "Comparison",
    "Contender",
    "DataOptions",
    "Exported",
    "Int8",
    "Metrics",
    "Plan",
    "Recommendation",
    "Request",
    "RunFacts",
    "RunResult",
}


def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text("utf-8"))


def imported(node: ast.AST) -> Iterator[str]:
    """Full names that an import statement brings in, such as `finetune.records.decision.Plan`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(path: Path) -> set[str]:
    """Everything that a file imports, inside functions too."""
    return {full for node in ast.walk(tree(path)) for full in imported(node)}


def own(names: set[str]) -> set[str]:
    """The files of this package among imported names."""
    below = [full.removeprefix("finetune.") for full in names if full.startswith("finetune.")]
    return {name for name in FILES if any(f"{full}.".startswith(f"{name}.") for full in below)}


def room(name: str) -> str:
    """The folder of a file."""
    return name.partition(".")[0]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def count_statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Statements inside a function, nested ones counted, its docstring not."""
    inside = sum(isinstance(n, ast.stmt) for n in ast.walk(function)) - 1
    return inside - (ast.get_docstring(function) is not None)


def calls_to(path: Path, function: str) -> list[int]:
    """Lines where a file calls the function of that (dotted) name."""
    return [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == function
    ]


def code_map(text: str) -> dict[str, str]:
    """The rows of the table in a README's section "Code map": room → what lives there."""
    section = text.partition("\n## Code map\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)/` \| (.+?) \|$", section, re.MULTILINE))


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_every_folder_is_a_room_and_every_file_has_one() -> None:
    """No folder is missing from the order, and beside the rooms lie only the entry points."""
    assert {path.parent.name for path in FILES.values()} == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} <= {"__init__", "__main__", "api"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_go_down_only(name: str) -> None:
    """A file imports from its own room and from rooms below, never from one above."""
    order = ROOMS.index(room(name))

    assert {
        other for other in own(imports(FILES[name])) if ROOMS.index(room(other)) > order
    } == set()


def test_no_files_import_each_other_in_a_circle() -> None:
    """Inside a room, too, imports have an order; those for types alone and late ones count."""
    left = {name: own(imports(path)) - {name} for name, path in FILES.items()}
    while done := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in done}

    assert left == {}


@pytest.mark.parametrize("name", ROOMS)
def test_every_room_says_what_it_is_for(name: str) -> None:
    """A room's `__init__` says what lives there, what it may import and what it must not know."""
    text = ast.get_docstring(tree(PACKAGE / name / "__init__.py")) or ""
    first, _, rest = text.partition("\n\n")

    assert re.fullmatch(r"\S.{5,120}\.", first)
    assert re.fullmatch(r"May import: .+\.\nMust not know: .+\.", rest)


@pytest.mark.parametrize("name", ["__init__", "__main__"])
def test_the_entry_points_import_only_the_command_line(name: str) -> None:
    """`import finetune` and `python -m finetune` bring in nothing else by themselves."""
    assert {room(other) for other in own(imports(PACKAGE / f"{name}.py"))} <= {"cli"}


@pytest.mark.parametrize("name", [n for n in FILES if room(n) != "cli"])
def test_only_the_command_line_imports_rich_and_prints(name: str) -> None:
    """What people see is made in one place."""
    assert not {full for full in imports(FILES[name]) if full.split(".")[0] == "rich"}
    assert calls_to(FILES[name], "print") == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_foreign_weights_are_read_in_one_place(name: str) -> None:
    """Only `backbones.load` calls `torch.load`, only for weights; nothing is unpickled anywhere."""
    source = FILES[name].read_text("utf-8")

    lines = calls_to(FILES[name], "torch.load")
    assert name == "backbones.load" or lines == []
    assert all("weights_only=True" in source.splitlines()[line - 1] for line in lines)
    forbidden = {"pickle", "dill", "joblib"}
    assert not {f for f in imports(FILES[name]) if f.split(".")[0] in forbidden}


@pytest.mark.parametrize("name", LIGHT)
def test_light_files_do_not_name_torch_at_their_top(name: str) -> None:
    """No import of torch stands outside a function, nor of a file that imports it."""
    top = {full for node in tree(FILES[name]).body for full in imported(node)}

    assert not {f for f in top if f.split(".")[0] in {"torch", "torchvision", "timm", "openvino"}}
    assert not own(top) & HEAVY


def test_light_files_do_not_load_torch() -> None:
    """Importing all of them in a fresh interpreter leaves torch, scipy and OpenVINO unloaded."""
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'finetune.{name}')\n"
        "    for heavy in ('torch', 'scipy', 'openvino'):\n"
        "        assert heavy not in sys.modules, (name, heavy)\n"
    )

    done = python("-c", script, *LIGHT)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--help"], "recommend"),
        (["train", "--help"], "--max-per-class"),
        (["recommend", "--size", "small", "--similarity", "different"], "stage-probe"),
    ],
    ids=" ".join,
)
def test_quick_answers_do_not_wait_for_torch(arguments: list[str], answer: str) -> None:
    """Help and the decision table come without loading torch."""
    script = (
        "import sys\n"
        "from finetune.cli.process import run\n"
        "code = run(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)\n"
    )

    done = python("-c", script, *arguments)

    assert done.returncode == 0, done.stderr
    assert answer in done.stdout


@pytest.mark.parametrize("name", sorted(FILES))
def test_functions_and_files_are_short(name: str) -> None:
    """No function has more statements than fit on a screen, no file more lines than one job has."""
    sizes = {f.name: count_statements(f) for f in functions(FILES[name])}

    assert {f: n for f, n in sizes.items() if n > STATEMENTS} == {}
    assert len(FILES[name].read_text("utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("name", [n for n in FILES if room(n) == "records"])
def test_records_are_small(name: str) -> None:
    """A record has few fields unless they are read together."""
    for node in ast.walk(tree(FILES[name])):
        if isinstance(node, ast.ClassDef) and node.decorator_list:
            fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
            assert len(fields) <= FIELDS or node.name in WHOLE, node.name


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_says_what_it_is_for(name: str) -> None:
    """The first line of a file is one sentence that ends with a full stop."""
    first = (ast.get_docstring(tree(FILES[name])) or "").partition("\n")[0]

    assert re.fullmatch(r"\S.{5,120}[.?]", first)


def test_the_readmes_code_map_is_the_code() -> None:
    """Each room has its row in the README, in the words of its docstring, and no other has."""
    rooms = {r: str(ast.get_docstring(tree(PACKAGE / r / "__init__.py"))) for r in ROOMS}

    said = code_map(README.read_text("utf-8"))

    assert said == {name: text.partition("\n")[0] for name, text in rooms.items()}


def test_the_code_map_is_read_as_it_is_written() -> None:
    """The reader of the table finds its rows, and none of other sections or of the heading."""
    text = (
        "# x\n| `a/` | no. |\n## Code map\nWords.\n\n| folder | what |\n| --- | --- |\n"
        "| `cli/` | Options → `x | y`. |\n| `data/` | Faults. |\n\n## Next\n| `b/` | no. |\n"
    )

    assert code_map(text) == {"cli": "Options → `x | y`.", "data": "Faults."}
