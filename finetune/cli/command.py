"""How a function becomes a command: its parameters come from the table, its help has groups."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from finetune.cli.options import Asked, asked, parameters

Body = Callable[[Asked], None]
FEW = 12  # so many options are one list


class Grouped(TyperCommand):
    """A command whose help lists its options by groups, in plain text of any width."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then each group of options under its title."""
        arguments: list[tuple[str, str]] = []
        options: dict[str, list[tuple[str, str]]] = {}
        title = "Options"
        for param in self.get_params(ctx):
            if (row := param.get_help_record(ctx)) is None:  # it is hidden
                continue
            if param.param_type_name == "argument":
                arguments.append(row)
            else:  # --help, which comes last, has no group
                title = getattr(param, "rich_help_panel", None) or title
                options.setdefault(title, []).append(row)
        if sum(map(len, options.values())) <= FEW:
            options = {"Options": [row for rows in options.values() for row in rows]}
        for name, rows in ({"Arguments": arguments} | options).items():
            if rows:
                with formatter.section(name):
                    formatter.write_dl(rows)


def add(app: typer.Typer, *arguments: inspect.Parameter) -> Callable[[Body], Body]:
    """Make a command of a function that takes what was asked for.

    Args:
        app: What the command is added to.
        arguments: The parameters that have a place and no name.
    """

    def register(body: Body) -> Body:
        own = [*arguments, *parameters(body.__name__)]
        context = inspect.Parameter(
            "context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context
        )

        def run(context: typer.Context, **values: Any) -> None:
            given = frozenset(
                name
                for name in values
                if (source := context.get_parameter_source(name)) and source.name != "DEFAULT"
            )
            what = asked(values, given)
            # the converter of networks looks for this word in every program's arguments, and fills
            # stdout where it finds it
            sys.argv = [word for word in sys.argv if word != "--verbose"]
            body(what)

        run.__signature__ = inspect.Signature([*own, context])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in (*own, context)}
        app.command(name=body.__name__, help=body.__doc__, cls=Grouped)(run)
        return body

    return register
