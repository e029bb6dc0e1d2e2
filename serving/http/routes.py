"""The table of routes: paths, scopes, handlers and documentation."""

from collections.abc import Mapping
from typing import Final

from serving.api import (
    AcceptedEvents,
    Anomalies,
    Anomaly,
    Batch,
    Consent,
    ErasedUser,
    Failure,
    InvalidValue,
    ItemList,
    ItemState,
    LiveStatus,
    ReadyStatus,
    Recommendations,
    User,
    UserLabel,
)
from serving.http import anomaly_handlers, handlers, user_handlers
from serving.http.bodies import BODY_SECONDS
from serving.http.routing import Response, Route
from serving.intake.event_parsing import Event
from serving.intake.events import MAX_BODY_BYTES
from serving.intake.items import ItemChange
from serving.requests import ListOptions, ListRequest, PageRequest, UserReference

LISTS: Final = "Lists"
FACTS: Final = "Users, events and items"
ANOMALIES: Final = "Anomalies"
SERVER: Final = "The server"
PROMETHEUS_TEXT: Final = "text/plain; version=0.0.4"

Responses = Mapping[int, Response]

INVALID: Final[Responses] = {400: Response(InvalidValue, "A value of the request is not accepted")}
BODY_ERRORS: Final[Responses] = {
    408: Response(Failure, f"The body did not arrive within {BODY_SECONDS:g} seconds"),
    415: Response(Failure, "The body is not `application/json`"),
    413: Response(Failure, f"The body has more than {MAX_BODY_BYTES:,} bytes"),
}
LONG_ADDRESS: Final[Responses] = {
    414: Response(None, "The address has more than 65,534 bytes; the answer is empty")
}
REFUSED: Final[Responses] = {
    401: Response(Failure, "The server has API keys, and the request shows none that is valid"),
    403: Response(Failure, "The key lacks the scope or is used from elsewhere, or the page is of another origin"),
    421: Response(Failure, "The server has no host of the name that is called"),
    429: Response(Failure, "Too many requests with this key; `Retry-After` says when to come again"),
}
NOTHING: Final[Responses] = {503: Response(Failure, "The server knows no list at all, not even an older one")}
NO_REDIS: Final[Responses] = {503: Response(Failure, "Redis does not answer; nothing is lost by trying again")}
LIST_ERRORS: Final[Responses] = {**INVALID, **LONG_ADDRESS, **REFUSED, **NOTHING}
FACT_ERRORS: Final[Responses] = {**INVALID, **REFUSED, **NO_REDIS}
EVENT_ERRORS: Final[Responses] = {
    400: Response(InvalidValue | AcceptedEvents, "The body is not accepted, or each of its events is wrong"),
    429: Response(
        AcceptedEvents | Failure,
        "There was no room for some of the events, or too many requests came with this key; `Retry-After` says "
        "when to come again, with all of them",
    ),
}

ROUTES: Final = (
    Route(
        "GET",
        "/v1/recommendations/{user_id}",
        "recommend",
        handlers.recommendations,
        LISTS,
        "Recommendations for a user",
        Response(Recommendations, "The list; `cursor` asks for its next page"),
        errors=LIST_ERRORS,
        query=ListRequest,
        is_fast=True,
        other_scope="admin",
    ),
    Route(
        "GET",
        "/v1/recommendations",
        "recommend",
        handlers.guest_recommendations,
        LISTS,
        "Recommendations for a guest",
        Response(Recommendations, "The list; `cursor` asks for its next page"),
        errors=LIST_ERRORS,
        query=ListRequest,
        required=("session_id",),
        is_fast=True,
        other_scope="admin",
    ),
    Route(
        "GET",
        "/v1/similar/{item_id}",
        "recommend",
        handlers.similar,
        LISTS,
        "Similar items",
        Response(ItemList, "The list"),
        errors=LIST_ERRORS,
        query=ListOptions,
    ),
    Route(
        "GET",
        "/v1/trending",
        "recommend",
        handlers.trending,
        LISTS,
        "Trending items",
        Response(ItemList, "The list"),
        errors=LIST_ERRORS,
        query=ListOptions,
    ),
    Route(
        "GET",
        "/v1/popular",
        "recommend",
        handlers.popular,
        LISTS,
        "Popular items",
        Response(ItemList, "The list"),
        errors=LIST_ERRORS,
        query=ListOptions,
    ),
    Route(
        "POST",
        "/v1/recommendations/batch",
        "recommend",
        handlers.batch,
        LISTS,
        "Recommendations for many users",
        Response(Batch, "A list for each user, in their order"),
        errors={**LIST_ERRORS, **BODY_ERRORS},
        body=handlers.BatchRequest,
    ),
    Route(
        "POST",
        "/v1/rank",
        "recommend",
        handlers.rank,
        LISTS,
        "Given items in a user's order",
        Response(Recommendations, "The items in their order"),
        errors={**LIST_ERRORS, **BODY_ERRORS},
        body=handlers.RankRequest,
    ),
    Route(
        "GET",
        "/v1/users/{user_id}",
        "admin",
        handlers.user,
        FACTS,
        "Profile, session and flag of a user",
        Response(User, "What Redis has of the user"),
        errors=FACT_ERRORS,
        query=UserReference,
    ),
    Route(
        "DELETE",
        "/v1/users/{user_id}",
        "admin",
        user_handlers.erase,
        FACTS,
        "Erase a user",
        Response(ErasedUser, "The user is erased from Redis; the next archive erases the user from the lake"),
        status=202,
        errors=FACT_ERRORS,
        query=UserReference,
    ),
    Route(
        "GET",
        "/v1/consent/{user_id}",
        "admin",
        user_handlers.consent,
        FACTS,
        "Whether a user wants personal lists",
        Response(Consent, "What the user wants"),
        errors=FACT_ERRORS,
        query=UserReference,
    ),
    Route(
        "PUT",
        "/v1/consent/{user_id}",
        "admin",
        user_handlers.give_consent,
        FACTS,
        "Give or refuse consent to personal lists",
        Response(Consent, "It holds at once, and is kept"),
        errors={**FACT_ERRORS, **BODY_ERRORS},
        body=user_handlers.ConsentRequest,
        query=UserReference,
    ),
    Route(
        "POST",
        "/v1/events",
        "events",
        handlers.events,
        FACTS,
        "Take events",
        Response(AcceptedEvents, "All events that are not listed as wrong are taken"),
        status=202,
        errors={**FACT_ERRORS, **BODY_ERRORS, **EVENT_ERRORS},
        body=Event | list[Event],
        is_fast=True,
    ),
    Route(
        "PUT",
        "/v1/items/{item_id}",
        "catalogue",
        handlers.item,
        FACTS,
        "Change an item",
        Response(ItemState, "The change is in every answer from now on"),
        errors={**FACT_ERRORS, **BODY_ERRORS},
        body=ItemChange,
    ),
    Route(
        "GET",
        "/v1/anomalies",
        "admin",
        anomaly_handlers.anomalies,
        ANOMALIES,
        "Flagged users",
        Response(Anomalies, "Users, those whose flags last longest first"),
        errors=FACT_ERRORS,
        query=PageRequest,
    ),
    Route(
        "GET",
        "/v1/anomalies/{user_id}",
        "admin",
        anomaly_handlers.anomaly,
        ANOMALIES,
        "Flag of a user",
        Response(Anomaly, "The user's flag, null where there is none"),
        errors=FACT_ERRORS,
        query=UserReference,
    ),
    Route(
        "DELETE",
        "/v1/anomalies/{user_id}",
        "admin",
        anomaly_handlers.release,
        ANOMALIES,
        "Release a user",
        Response(UserLabel, "The user is no longer flagged"),
        errors=FACT_ERRORS,
        query=UserReference,
    ),
    Route(
        "PUT",
        "/v1/anomalies/{user_id}",
        "admin",
        anomaly_handlers.label,
        ANOMALIES,
        "Label a user",
        Response(UserLabel, "The label holds at once, and is kept"),
        errors={**FACT_ERRORS, **BODY_ERRORS},
        body=anomaly_handlers.LabelRequest,
        query=UserReference,
    ),
    Route(
        "GET",
        "/live",
        None,
        handlers.live,
        SERVER,
        "Whether the process answers",
        Response(LiveStatus, "It does"),
        is_probe=True,
    ),
    Route(
        "GET",
        "/ready",
        None,
        handlers.ready,
        SERVER,
        "Whether there are lists to answer with",
        Response(ReadyStatus, "There are"),
        errors=NOTHING,
        is_probe=True,
    ),
    Route(
        "GET",
        "/metrics",
        None,
        handlers.metrics,
        SERVER,
        "Counts for Prometheus",
        Response(str, "Prometheus' text format"),
        errors=REFUSED,
        media_type=PROMETHEUS_TEXT,
        public_scope="admin",
    ),
)
"""In the order of the documentation."""
