"""Every request, valid or not, gets an answer that the documentation names, and none is a 5xx."""

from pathlib import Path

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis import Case, GenerationMode, checks
from schemathesis.core.result import Ok

from tests.serving.conftest import Publish, Shop
from tests.serving.http.test_openapi import OPERATIONS
from tests.serving.processes import serving

EXAMPLES = 20
"""Requests of each operation and kind: valid ones, and invalid ones."""
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def test_each_operation_keeps_to_its_documentation(url: str, publish_shop: Publish, tmp_path: Path) -> None:
    publish_shop(Shop(users=("7", "0"), profiles={"0": '{"events":3}'}))
    statuses_of: dict[str, set[int]] = {}
    with (
        serving(tmp_path, "", {"RECSYS_REDIS_URL": url}) as served,
        requests.Session() as session,
    ):
        schema = schemathesis.openapi.from_url(f"{served.http.base_url}/schema/openapi.json")
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            for actual in schema.get_all_operations():
                assert isinstance(actual, Ok)
                operation = actual.ok()
                if mode is GenerationMode.NEGATIVE and not [*operation.body, *operation.query]:
                    continue  # any path there is may be asked for

                @hypothesis.settings(
                    max_examples=EXAMPLES,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=SLOW,
                    phases=[hypothesis.Phase.generate],
                )
                @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
                def check(case: Case) -> None:
                    response = case.call(session=session)
                    case.validate_response(response, checks=CHECKS)
                    statuses_of.setdefault(case.operation.label, set()).add(response.status_code)

                check()
        log = served.log.read_text()
    assert len(statuses_of) == len(OPERATIONS)
    for label, statuses in statuses_of.items():
        # An event that the schema describes may still be of another century.
        assert 200 in statuses or label == "POST /v1/events", label
        assert (400 in statuses) == (" /v1/" in label), label
    assert "Traceback" not in log
    assert "request failed" not in log
