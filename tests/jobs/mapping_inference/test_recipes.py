"""The samples of the recipes' own tests are recognized, and read by the recipe."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.inferred_sources import infer_and_ingest
from tests.jobs.examples import test_shops as shops
from tests.jobs.examples import test_trackers as trackers
from tests.recipes import create_database

TEA = {"item_id": "tea", "item_name": "Tea", "item_brand": "Planter", "item_category": "Drinks", "price": 2.5}
GA4 = [
    trackers.ga4_event("session_start", 0, None),
    trackers.ga4_event("view_item", 1, None, TEA),
    trackers.ga4_event("purchase", 2, "ann", TEA | {"quantity": "2"}),
]
PRODUCT = {"product_id": "tea", "sku": "T", "price": 2.5, "quantity": 2}
SEGMENT = [
    trackers.segment_track("Product Viewed", "m1", None, **PRODUCT),
    trackers.segment_track("Order Completed", "m2", "ann", order_id="o1", products=[PRODUCT]),
]
ENTITY = {"id": "tea", "name": "Tea", "category": "Drinks", "brand": "Planter", "price": 2.5, "currency": "EUR"}
SNOWPLOW = [
    trackers.snowplow_event("e1", "product_view", None, ENTITY),
    trackers.snowplow_event("e2", "transaction", "ann", ENTITY | {"quantity": 1}),
]


def shopify(directory: Path) -> list[str]:
    (directory / "bestellungen.csv").write_text(shops.SHOPIFY_ORDERS)
    (directory / "products_export_1.csv").write_text(shops.SHOPIFY_PRODUCTS)
    return [str(directory)]


def woocommerce(directory: Path) -> list[str]:
    (directory / "wc-product-export-1-3-2024.csv").write_text(shops.WOOCOMMERCE_PRODUCTS)
    database = create_database(directory.parent / "shop.db", shops.WOOCOMMERCE)
    return [str(directory), database.removeprefix("sqlite:///")]


def magento(directory: Path) -> list[str]:
    (directory / "export.csv").write_text(shops.MAGENTO_PRODUCTS)
    return [str(directory), create_database(directory.parent / "shop.db", shops.MAGENTO)]


def matomo(directory: Path) -> list[str]:
    return [create_database(directory / "matomo.db", trackers.MATOMO)]


def ga4(directory: Path) -> list[str]:
    trackers.write_json_lines(directory / "analytics_20240301.jsonl", GA4)
    return [str(directory)]


def segment(directory: Path) -> list[str]:
    trackers.write_json_lines(directory / "calls.jsonl", SEGMENT)
    return [str(directory)]


def snowplow(directory: Path) -> list[str]:
    trackers.write_json_lines(directory / "enriched.jsonl", SNOWPLOW)
    return [str(directory)]


@pytest.mark.parametrize(
    ("write", "accepted"),
    [
        (shopify, {"shopify_orders": 4, "shopify_products": 3}),
        (woocommerce, {"woocommerce_orders": 2, "woocommerce_products": 6}),
        (magento, {"magento_orders": 2, "magento_products": 3, "magento_variants": 1}),
        (matomo, {"matomo_orders": 2, "matomo_views": 1}),
        (ga4, {"ga4": 2, "ga4_items": 1}),
        (segment, {"segment_products": 1, "segment_orders": 1}),
        (snowplow, {"snowplow": 2, "snowplow_products": 1}),
    ],
)
def test_a_recipe_is_recognized_by_its_columns(
    tmp_path: Path, write: Callable[[Path], list[str]], accepted: dict[str, int]
) -> None:
    (tmp_path / "data").mkdir()
    inferred = infer_and_ingest(tmp_path, *write(tmp_path / "data"))
    assert inferred.recipes == {write.__name__}
    assert {name: count.accepted for name, count in inferred.counts.items()} == accepted
