"""Arguments that say which dead letters of subscriptions are meant."""

from __future__ import annotations

from typing import Annotated

import typer

from publisher.cli.arguments.options import MOST

Durable = Annotated[
    str, typer.Argument(metavar="DURABLE", help="The subscription: the durable name that it was started with.")
]
AnyDurable = Annotated[
    str | None, typer.Argument(metavar="[DURABLE]", help="Of this subscription; default: of all.", show_default=False)
]
NUMBER_HELP = "Its number, as `dead-letters list` shows it."
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=MOST, help=NUMBER_HELP)]
NumberOrAll = Annotated[
    int | None, typer.Argument(metavar="[NUMBER]", min=1, max=MOST, help=NUMBER_HELP, show_default=False)
]
Everything = Annotated[bool, typer.Option("--all", help="All that match, oldest first.")]
Entity = Annotated[str | None, typer.Option("--entity", help="Only project, worktree, activity …", show_default=False)]
Action = Annotated[str | None, typer.Option("--action", help="Only registered, merged …", show_default=False)]
Project = Annotated[
    str | None, typer.Option("--project", help="Only of this project: name, origin or id.", show_default=False)
]
Reason = Annotated[
    str | None, typer.Option("--reason", help="Only those whose error has this text.", show_default=False)
]
