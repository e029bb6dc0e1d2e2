"""Databases: lines are joined to their orders, and the ids of users and items are those that the events have."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.database_servers import DatabaseServer
from tests.inferred_sources import infer_and_ingest
from tests.recipes import read_events, read_items

SHOP = """
CREATE TABLE shop_orders (id int, customer_id int, status varchar(20), placed_at timestamp NULL);
INSERT INTO shop_orders VALUES (1, 7, 'paid', '2024-03-01 13:00:00'), (2, 8, 'cancelled', '2024-03-01 14:00:00'),
    (3, 7, 'shipped', '2024-03-03 13:00:00');
CREATE TABLE shop_order_lines (id int, order_id int, product_sku varchar(20), quantity int,
    unit_price decimal(10, 2));
INSERT INTO shop_order_lines VALUES (1, 1, 'TEA', 2, 2.50), (2, 1, 'MUG', 1, 7), (3, 2, 'TEA', 1, 2.50),
    (4, 3, 'TEA', 1, 2.50);
CREATE TABLE shop_products (id int, sku varchar(20), name varchar(20), brand varchar(20), price decimal(10, 2),
    stock int);
INSERT INTO shop_products VALUES (10, 'TEA', 'Green tea', 'Acme', 2.50, 5), (20, 'MUG', 'Mug', NULL, 7, 0);
CREATE TABLE shop_customers (id int, email varchar(20), city varchar(20));
INSERT INTO shop_customers VALUES (7, 'a@b.de', 'Bonn'), (8, 'b@b.de', 'Bonn'), (9, 'c@b.de', 'Ulm')
"""
TABLES = ("shop_orders", "shop_order_lines", "shop_products", "shop_customers")
EMPTY = {
    "sqlite": (),
    "postgresql": ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public"),
    "mysql": ("DROP DATABASE shop; CREATE DATABASE shop",),
}


@pytest.fixture
def empty_database(database: DatabaseServer) -> DatabaseServer:
    """Each kind of database in turn, without what other tests left."""
    for statement in EMPTY[database.uri.partition(":")[0]]:
        database.run(statement)
    return database


def test_a_database_of_orders_lines_products_and_customers(tmp_path: Path, empty_database: DatabaseServer) -> None:
    database = empty_database
    for statement in SHOP.split(";"):
        database.run(statement)
    try:
        inferred = infer_and_ingest(tmp_path, database.uri)
    finally:
        for table in TABLES:
            database.run(f"DROP TABLE {table}")
    assert {name: count.accepted for name, count in inferred.counts.items()} == {
        "shop_customers": 3,
        "shop_order_lines": 3,
        "shop_products": 2,
    }
    first = datetime(2024, 3, 1, 13, tzinfo=UTC)
    assert read_events(inferred.lake) == [
        ("7", "MUG", "purchase", first, 7.0, 1.0, "1"),
        ("7", "TEA", "purchase", first, 2.5, 2.0, "1"),
        ("7", "TEA", "purchase", first.replace(day=3), 2.5, 1.0, "3"),
    ]
    assert read_items(inferred.lake, "item_id", "title", "stock") == [
        ("MUG", "Mug", 0.0),
        ("TEA", "Green tea", 5.0),
    ]
    assert sorted(inferred.lake.users().collect()["user_id"]) == ["7", "8", "9"]
