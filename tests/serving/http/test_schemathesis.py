"""Every request, valid or not, gets an answer that the documentation names, and none is a 5xx.

With a key of another scope than the documentation names, valid requests get 403.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis import Case, GenerationMode, checks
from schemathesis.core.result import Ok

from recsys.api_key_file import API_KEYS_FILE
from recsys.api_keys import SCOPES, Scope
from tests.serving.conftest import Publish, Shop
from tests.serving.http.test_openapi import OPERATIONS
from tests.serving.keys import keep
from tests.serving.processes import serving

EXAMPLES = 20
"""Requests of each operation and kind: valid ones, and invalid ones."""
REFUSED_EXAMPLES = 2
"""Valid requests of each operation for each key of another scope."""
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def each_case(operation: Any, mode: GenerationMode, examples: int, test: Callable[[Case], None]) -> None:
    """Run a test for generated requests of an operation."""

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=SLOW,
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        test(case)

    check()


def scopes_of(operation: Any) -> set[str]:
    """The scopes that the documentation of an operation names; `debug` of a list is for administrators."""
    raw = operation.definition.raw
    scopes = set(re.findall(r"Needs the scope (\w+)\.", raw["description"]))
    is_list_of_user = any(parameter["name"] == "debug" for parameter in raw.get("parameters", ()))
    return scopes | ({"admin"} if is_list_of_user else set())


def test_each_operation_keeps_to_its_documentation(url: str, publish_shop: Publish, tmp_path: Path) -> None:
    publish_shop(Shop(users=("7", "0"), profiles={"0": '{"events":3}'}))
    given: list[tuple[str, Sequence[Scope], int]] = [(scope, [scope], 0) for scope in SCOPES]
    tokens = keep(tmp_path / "var" / API_KEYS_FILE, *given, ("all", SCOPES, 0))
    statuses_of: dict[str, set[int]] = {}
    with (
        serving(tmp_path, "", {"RECSYS_REDIS_URL": url}) as served,
        requests.Session() as session,
    ):

        def check(case: Case) -> None:
            response = case.call(session=session, headers={"X-API-Key": tokens["all"]})
            case.validate_response(response, checks=CHECKS)
            statuses_of.setdefault(case.operation.label, set()).add(response.status_code)

        schema = schemathesis.openapi.from_url(f"{served.http.base_url}/schema/openapi.json")
        for actual in schema.get_all_operations():
            assert isinstance(actual, Ok)
            operation = actual.ok()
            each_case(operation, GenerationMode.POSITIVE, EXAMPLES, check)
            if operation.body or operation.query:
                each_case(operation, GenerationMode.NEGATIVE, EXAMPLES, check)  # any path there is may be asked for
            allowed = scopes_of(operation)
            assert len(allowed) == len(set(SCOPES) & allowed)
            assert bool(allowed) == (" /v1/" in operation.label)
            for scope in set(SCOPES) - allowed if allowed else ():

                def check_refusal(case: Case, scope: str = scope) -> None:
                    response = case.call(session=session, headers={"X-API-Key": tokens[scope]})
                    assert response.status_code == 403, (case.operation.label, scope, response.text)

                each_case(operation, GenerationMode.POSITIVE, REFUSED_EXAMPLES, check_refusal)
        log = served.log.read_text()
    assert len(statuses_of) == len(OPERATIONS)
    for label, statuses in statuses_of.items():
        # An event that the schema describes may still be of another century.
        assert statuses & {200, 202} or label == "POST /v1/events", label
        assert (400 in statuses) == (" /v1/" in label), label
    assert "Traceback" not in log
    assert "request failed" not in log
