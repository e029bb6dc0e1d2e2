"""The parameters of the routes, as the documentation describes them."""

from typing import Annotated, Final

from litestar.params import Parameter

from recsys.schema import ITEM_ID, MAX_ID_LENGTH, SESSION_ID, USER_ID
from serving.http.query import EXPECTED, MAX_N, MAX_OFFSET, MAX_SESSION_ID_LENGTH, MAX_TEXT_LENGTH, Context

Count = Annotated[int, Parameter(ge=1, le=MAX_N, description=f"Most items to answer with: {EXPECTED['n']}")]
Offset = Annotated[int, Parameter(ge=0, le=MAX_OFFSET, description="Items to pass over")]
Category = Annotated[
    str | None,
    Parameter(
        min_length=1,
        max_length=MAX_TEXT_LENGTH,
        description="Only items of this category path, or of a path below it",
    ),
]
Brand = Annotated[
    str | None, Parameter(min_length=1, max_length=MAX_TEXT_LENGTH, description="Only items of this brand")
]
PriceMin = Annotated[
    float | None, Parameter(ge=0, schema_extra={"minimum": 0}, description="Only items that cost so much or more")
]
PriceMax = Annotated[
    float | None, Parameter(ge=0, schema_extra={"minimum": 0}, description="Only items that cost so much or less")
]
Exclude = Annotated[list[str] | None, Parameter(description=f"Items to leave out: {EXPECTED['exclude']}")]
Session = Annotated[
    str | None,
    Parameter(
        min_length=1,
        max_length=MAX_SESSION_ID_LENGTH,
        description="Session before log-in, whose events count as well",
    ),
]
GuestSession = Annotated[
    str,
    Parameter(min_length=1, max_length=MAX_SESSION_ID_LENGTH, description=f"Of the guest: {EXPECTED[SESSION_ID]}"),
]
After = Annotated[str | None, Parameter(description="Of an answer, for the page after it; without `offset`")]
Where = Annotated[Context, Parameter(description="Where the list is shown; in a mail the session does not count")]
Debug = Annotated[
    int, Parameter(ge=0, le=1, description="1 shows every stage of the request; needs the scope admin")
]
LENGTHS: Final = {"minLength": 1, "maxLength": MAX_ID_LENGTH}
UserId = Annotated[str, Parameter(schema_extra=LENGTHS, description=EXPECTED[USER_ID])]
ItemId = Annotated[str, Parameter(schema_extra=LENGTHS, description=EXPECTED[ITEM_ID])]
