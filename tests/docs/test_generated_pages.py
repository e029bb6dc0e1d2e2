"""The generated pages of docs/ are current."""

import pytest

from recsys.settings import Settings
from tests.docs.generated_pages import DOCS, PAGES, settings_page


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run `make docs`"


def test_every_setting_is_described() -> None:
    page = settings_page()
    for section in ("sources", "serving", "anomalies"):
        for name in vars(type(getattr(Settings(), section)))["__dataclass_fields__"]:
            assert f"| `{name}` |" in page
