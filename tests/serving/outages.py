"""A shop, requests and checks that tests of outages share."""

import httpx

from tests.serving.conftest import Shop

USER = "/v1/recommendations/7?n=60&exclude=a5"
NOBODY = "/v1/recommendations/nobody?n=5"
VIEW = {"user_id": "7", "event": "view", "item_id": "a9"}
SHOP = Shop(history={"7": ["ap1"]}, facts=({"item_id": "a3", "available": False},))


async def is_fresh(http: httpx.AsyncClient) -> bool:
    answers = [(await http.get(path)).json() for path in (USER, NOBODY)]
    return not any(answer["degraded"] for answer in answers)


async def takes_events(http: httpx.AsyncClient) -> bool:
    return (await http.post("/v1/events", json=VIEW)).status_code == 202


async def assert_refused(http: httpx.AsyncClient) -> None:
    """No event is taken, and no change of an item: all may be sent again later."""
    for method, path, body in (("POST", "/v1/events", VIEW), ("PUT", "/v1/items/a1", {"price": 1.0})):
        response = await http.request(method, path, json=body)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"] == "Redis does not answer"
