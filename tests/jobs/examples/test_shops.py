"""The mappings of shops in jobs/examples, on small exports and databases in the columns of each."""

import json
from pathlib import Path

import pytest

from jobs.lake.lake import Lake
from jobs.mapping_inference.recipes import EXAMPLES
from tests.database_servers import DatabaseServer
from tests.recipes import NOON, create_database, ingest_by_recipe, read_events, read_items

RECIPES = ("shopify", "woocommerce", "magento", "ga4", "segment", "snowplow", "matomo", "postgresql")

# The order columns of the second line of #1002 are empty, as Shopify writes most of them, or all of them.
SHOPIFY_ORDERS = """Name,Email,Financial Status,Paid at,Currency,Created at,Lineitem quantity,Lineitem name,\
Lineitem price,Lineitem sku
#1003,eve@example.com,voided,,EUR,2024-03-01 15:00:00 +0100,1,Tea,2.50,TEA
#1002,Bob@example.com,paid,2024-03-01 14:00:00 +0100,EUR,2024-03-01 14:00:00 +0100,2,Tea,2.50,TEA
,,,,,,1,Mug,7.00,MUG 1
,,,,,,1,Gift wrapping,1.00,
#1001,ann@example.com,paid,2024-03-01 13:00:00 +0100,EUR,2024-03-01 13:00:00 +0100,1,Tea,2.50,TEA
#1001,ann@example.com,,,,2024-03-01 13:00:00 +0100,3,Mug,7.00,MUG 1
#1000,,paid,,EUR,2024-03-01 12:00:00 +0100,1,Mug,7.00,MUG 1
"""
SHOPIFY_PRODUCTS = """Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,\
Option1 Value,Variant SKU,Variant Inventory Tracker,Variant Inventory Qty,Variant Inventory Policy,\
Variant Price,Image Src,Status
mug,Mug,<p>Blue</p>,Potter,Home > Kitchen,Mugs,"blue, gift",true,Size,S,MUG 1,shopify,0,deny,7.00,a.jpg,active
mug,,,,,,,,,L,MUG 2,shopify,0,continue,9.00,,
mug,,,,,,,,,,,,,,,b.jpg,
tea,Tea,,Planter,,Teas,,true,Title,Default Title,TEA,,,deny,2.50,,draft
"""


def test_shopify(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "orders_export_1.csv").write_text(SHOPIFY_ORDERS)
    (tmp_path / "products_export_1.csv").write_text(SHOPIFY_PRODUCTS)
    counts = ingest_by_recipe(lake, "shopify", tmp_path / "orders_export_1.csv", tmp_path / "products_export_1.csv")
    assert (counts["shopify_orders"].rows, counts["shopify_orders"].accepted) == (5, 4)
    assert counts["shopify_orders"].rules == {"user_id_is_given": 1}  # #1000 has no customer
    assert read_events(lake) == [
        ("ann@example.com", "MUG_1", "purchase", NOON, 7.0, 3.0, "#1001"),
        ("ann@example.com", "TEA", "purchase", NOON, 2.5, 1.0, "#1001"),
        ("bob@example.com", "MUG_1", "purchase", NOON.replace(hour=13), 7.0, 1.0, "#1002"),
        ("bob@example.com", "TEA", "purchase", NOON.replace(hour=13), 2.5, 2.0, "#1002"),
    ]
    kitchen = ["Home", "Kitchen"]
    assert read_items(lake, "item_id", "group_id", "title", "category", "brand", "price", "available", "stock") == [
        ("MUG_1", "mug", "Mug", kitchen, "Potter", 7.0, None, 0.0),
        ("MUG_2", "mug", "Mug", kitchen, "Potter", 9.0, True, 0.0),
        ("TEA", "tea", "Tea", ["Teas"], "Planter", 2.5, False, None),
    ]
    assert [json.loads(text)["Option1 Value"] for (text,) in read_items(lake, "attributes")[:2]] == ["S", "L"]


WOOCOMMERCE_PRODUCTS = """ID,Type,SKU,Name,Published,"Is featured?","Visibility in catalog","In stock?",Stock,\
"Sale price","Regular price",Categories,Tags,Parent
10,simple,TEA,Tea,1,0,visible,1,5,2,2.5,"Drinks > Tea, Sale",green,
20,variable,HOOD,Hoodie,1,0,visible,backorder,,,,Clothing,,
21,variation,HOOD-R,"Hoodie - Red",1,0,visible,1,,,40,,,HOOD
22,variable,,Cap,1,0,visible,1,,,,Clothing,,
23,variation,,"Cap - Blue",1,0,visible,0,,,9,,,id:22
30,simple,OLD,Old,-1,0,visible,1,,,9,,,
"""
WOOCOMMERCE = {
    "wp_wc_order_stats": [
        {"order_id": 1, "status": "wc-completed", "customer_id": 7, "date_created_gmt": "2024-03-01 12:00:00"},
        {"order_id": 2, "status": "wc-cancelled", "customer_id": 7, "date_created_gmt": "2024-03-02 12:00:00"},
    ],
    "wp_wc_order_product_lookup": [
        {
            "order_item_id": line, "order_id": order, "product_id": product, "variation_id": variation,
            "customer_id": 7, "product_qty": quantity, "product_net_revenue": revenue,
        }
        for line, order, product, variation, quantity, revenue in (
            (1, 1, 10, 0, 2, 4.5), (2, 1, 20, 21, 1, 40.0), (3, 2, 10, 0, 1, 2.5),
        )
    ],
}  # fmt: skip


def test_woocommerce(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "wc-product-export-1-3-2024.csv").write_text(WOOCOMMERCE_PRODUCTS)
    shop = create_database(tmp_path / "shop.db", WOOCOMMERCE)
    ingest_by_recipe(lake, "woocommerce", tmp_path / "wc-product-export-1-3-2024.csv", shop=shop)
    assert read_events(lake) == [
        ("7", "10", "purchase", NOON, 2.25, 2.0, "1"),
        ("7", "21", "purchase", NOON, 40.0, 1.0, "1"),
    ]
    assert read_items(lake, "item_id", "group_id", "title", "categories", "price", "available") == [
        ("10", None, "Tea", [["Drinks", "Tea"], ["Sale"]], 2.0, True),
        ("20", "HOOD", "Hoodie", [["Clothing"]], None, True),
        ("21", "HOOD", "Hoodie - Red", [["Clothing"]], 40.0, True),
        ("22", "id:22", "Cap", [["Clothing"]], None, True),
        ("23", "id:22", "Cap - Blue", [["Clothing"]], 9.0, False),
        ("30", None, "Old", None, 9.0, False),
    ]


MAGENTO_PRODUCTS = """sku,store_view_code,product_type,categories,name,product_online,visibility,price,\
special_price,qty,is_in_stock
TEA 1,,simple,"Default Category/Drinks/Tea,Default Category/Sale",Tea,1,"Catalog, Search",2.50,2.00,5,1
TEA 1,de,,,Tee,,,,,,
HOOD,,configurable,Default Category/Clothing,Hoodie,1,"Catalog, Search",40.00,,0,1
HOOD-R,,simple,,Hoodie Red,1,Not Visible Individually,40.00,,3,1
OLD,,simple,,Old,2,"Catalog, Search",9.00,,1,1
"""
MAGENTO = {
    "sales_order": [
        {
            "entity_id": order, "increment_id": f"00000000{order}", "state": state, "customer_id": customer,
            "customer_email": "Guest@example.com", "created_at": "2024-03-01 12:00:00",
        }
        for order, state, customer in ((1, "complete", 7), (2, "processing", None), (3, "canceled", 7))
    ],
    "sales_order_item": [
        {
            "item_id": line, "order_id": order, "parent_item_id": parent, "product_id": product, "sku": sku,
            "product_type": kind, "qty_ordered": 2, "price": price,
        }
        for line, order, parent, product, kind, sku, price in (
            (1, 1, None, 20, "configurable", "HOOD-R-engraved", 40.0), (2, 1, 1, 21, "simple", "HOOD-R", 0.0),
            (3, 2, None, 99, "simple", "GONE", 2.5), (4, 3, None, 20, "configurable", "HOOD-R", 40.0),
        )
    ],
    "catalog_product_super_link": [{"product_id": 21, "parent_id": 20}],
    "cataloginventory_stock_item": [{"product_id": 21, "is_in_stock": 1}],
    "catalog_product_entity": [{"entity_id": 20, "sku": "HOOD"}, {"entity_id": 21, "sku": "HOOD-R"}],
}  # fmt: skip


def test_magento(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "export_catalog_product.csv").write_text(MAGENTO_PRODUCTS)
    shop = create_database(tmp_path / "shop.db", MAGENTO)
    ingest_by_recipe(lake, "magento", tmp_path / "export_catalog_product.csv", shop=shop)
    assert read_events(lake) == [
        ("guest@example.com", "GONE", "purchase", NOON, 2.5, 2.0, "000000002"),
        ("7", "HOOD-R", "purchase", NOON, 40.0, 2.0, "000000001"),
    ]
    assert read_items(lake, "item_id", "group_id", "title", "category", "price", "available") == [
        ("HOOD", "HOOD", "Hoodie", ["Default Category", "Clothing"], 40.0, True),
        ("HOOD-R", "HOOD", "Hoodie", ["Default Category", "Clothing"], None, True),
        ("OLD", None, "Old", None, 9.0, False),
        ("TEA_1", None, "Tea", ["Default Category", "Drinks", "Tea"], 2.0, True),
    ]


POSTGRESQL = """
CREATE TABLE orders (id int, customer_id int, status text, placed_at timestamptz, updated_at timestamptz);
INSERT INTO orders VALUES (1, 7, 'paid', '2024-03-01 13:00+01', '2024-03-01 14:00+01'),
    (2, 8, 'cancelled', '2024-03-01 13:00+01', '2024-03-01 14:00+01');
CREATE TABLE order_lines (id int, order_id int, product_id int, quantity int, unit_price numeric(10, 2));
INSERT INTO order_lines VALUES (1, 1, 10, 2, 2.50), (2, 1, 20, 1, 7), (3, 2, 10, 1, 2.50);
CREATE TABLE categories (id int, name text);
INSERT INTO categories VALUES (1, 'Drinks');
CREATE TABLE products (id int, name text, category_id int, price numeric(10, 2), stock int);
INSERT INTO products VALUES (10, 'Tea', 1, 2.50, 5), (20, 'Mug', NULL, 7, 0);
"""


def test_postgresql(lake: Lake, postgresql: DatabaseServer) -> None:
    tables = ("orders", "order_lines", "categories", "products")
    for statement in filter(str.strip, POSTGRESQL.split(";")):
        postgresql.run(statement)
    try:
        ingest_by_recipe(lake, "postgresql", shop=postgresql.uri)
        postgresql.run("INSERT INTO orders VALUES (3, 9, 'paid', '2024-03-02 12:00Z', '2024-03-02 12:00Z')")
        postgresql.run("INSERT INTO order_lines VALUES (4, 3, 10, 1, 2.50)")
        postgresql.run("DELETE FROM products WHERE id = 10")
        second = ingest_by_recipe(lake, "postgresql", shop=postgresql.uri)
    finally:
        postgresql.run(f"DROP TABLE {', '.join(tables)}")
    assert second["shop_orders"].accepted == 1
    assert read_events(lake) == [
        ("7", "10", "purchase", NOON, 2.5, 2.0, "1"),
        ("7", "20", "purchase", NOON, 7.0, 1.0, "1"),
        ("9", "10", "purchase", NOON.replace(day=2), 2.5, 1.0, "3"),
    ]
    assert read_items(lake, "item_id", "title", "category", "price", "available", "stock") == [
        ("10", "Tea", ["Drinks"], 2.5, False, 5.0),
        ("20", "Mug", None, 7.0, None, 0.0),
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.toml").read_text().splitlines()) < 40
