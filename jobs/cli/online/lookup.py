"""`recsys recommend` and `recsys similar`: look up lists in Redis."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape

from jobs.cli.options import AsJson, IsPseudonym
from jobs.cli.render import console, make_table, print_json
from jobs.lake.pseudonym_key import stored_user_id
from jobs.lookup import ListLookup, LookupResult

commands = typer.Typer()

Count = Annotated[int, typer.Option("--n", "-n", min=1, max=1000, help="Number of items")]


class UserListName(StrEnum):
    """A user's lists."""

    BLEND = "blend"
    AGAIN = "again"
    NEW = "new"


@commands.command()
def recommend(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(metavar="USER", help="User id")],
    n: Count = 10,
    list_name: Annotated[
        UserListName,
        typer.Option("--list", help="All items, those to buy again, or those that the user has never bought"),
    ] = UserListName.BLEND,
    is_pseudonym: IsPseudonym = False,
    as_json: AsJson = False,
) -> None:
    """Look up a user's list in Redis; an unknown user gets the popular list."""
    lookup = ListLookup.connect(context.obj)
    stored_id = stored_user_id(lookup.lake.pseudonyms, user_id, is_pseudonym)
    _print_lookup(lookup.user_list(user_id, stored_id, n, list_name.value), as_json)


@commands.command()
def similar(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(metavar="ITEM", help="Item id")],
    n: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Look up the items most similar to an item."""
    _print_lookup(ListLookup.connect(context.obj).similar_list(item_id, n), as_json)


def _print_lookup(result: LookupResult, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "asked": result.requested_id,
                "source": result.source,
                "version": result.version,
                "items": [asdict(item) for item in result.items],
            }
        )
        return
    title = f"{result.source} list for {result.requested_id} (version {result.version})"
    table = make_table(title, "#", "item", "title", "category")
    for item in result.items:
        table.add_row(str(item.rank), *(escape(cell or "") for cell in (item.item_id, item.title, item.category)))
    console.print(table)
