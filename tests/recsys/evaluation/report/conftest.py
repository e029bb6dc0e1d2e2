"""Fixtures of the report's tests."""

import pytest

from recsys.evaluation.report.report import render_report
from tests.reports import make_full_report


@pytest.fixture(scope="session")
def full_page() -> str:
    """Render the report with all sections to HTML, once."""
    return render_report(make_full_report())
