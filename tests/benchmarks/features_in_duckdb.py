"""All feature tables in idiomatic DuckDB SQL.

Users with items are grouped once, in a table that the others read; sums are of doubles, not in fixed point, so they
may differ from ours in the last digits.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

import duckdb

from features.bought_with import MAX_ORDER_ITEMS, MIN_USERS
from features.events import WINDOW_DAYS
from features.item_features import PRIOR_USERS
from features.users.tastes import MAX_TOP
from recsys.growth import PRIOR_EVENTS, RECENT_DAYS, USUAL_DAYS
from tests.benchmarks.feature_peers.orders_in_duckdb import ORDER_TIME, order_statement, user_segments
from tests.benchmarks.feature_peers.repurchase_in_duckdb import curve_statements, due_items

DAY: Final = 86_400_000_000
NAMES: Final = {
    "view": "views",
    "click": "clicks",
    "cart": "carts",
    "purchase": "purchase_lines",
    "rating": "ratings",
    "refund": "refund_lines",
}


def write_features(
    events: list[str],
    items: Path,
    directory: Path,
    as_of: datetime,
    half_life_days: float,
    weights: Mapping[str, float],
    n: int = 50,
    threads: int = 2,
    memory: str = "8GB",
) -> None:
    """Write every table to `directory` as `<table>.parquet`, from Parquet files of events and the catalogue."""
    with duckdb.connect(str(directory / "work.duckdb")) as connection:
        connection.execute(f"SET threads = {threads}")
        connection.execute(f"SET memory_limit = '{memory}'")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        for statement in _prepared(events, items, as_of, half_life_days, weights):
            connection.execute(statement)
        for name, query in _tables(as_of, n).items():
            connection.execute(f"COPY ({query}) TO '{directory / name}.parquet' (FORMAT parquet, COMPRESSION zstd)")


def _prepared(
    events: list[str], items: Path, as_of: datetime, half_life_days: float, weights: Mapping[str, float]
) -> list[str]:
    """Return the statements that the tables share: events before `as_of`, items, and user and item pairs."""
    worth = " ".join(f"WHEN '{name}' THEN {value}::DOUBLE" for name, value in weights.items())
    decay = f"pow(0.5, age_days / {half_life_days})"
    recent, usual = (f"pow(0.5, age_days / {days})" for days in (RECENT_DAYS, USUAL_DAYS))
    windows = ", ".join(
        f"count(*) FILTER (weight > 0 AND age_days <= {days}) AS events_{days}d" for days in WINDOW_DAYS
    )
    moment = int(as_of.timestamp() * 1_000_000)
    return [
        f"""CREATE VIEW events AS
            SELECT event_id, user_id, item_id, event, timestamp, price, quantity, session_id,
                epoch_us(timestamp) // {DAY} AS day,
                ({moment} - epoch_us(timestamp)) / {DAY}::DOUBLE AS age_days,
                CASE event {worth} ELSE 0 END AS weight
            FROM read_parquet({events}, hive_partitioning = false)
            WHERE timestamp < make_timestamptz({moment})
                AND NOT (event = 'purchase' AND coalesce(quantity, 1) = 0)""",
        f"""CREATE TABLE items AS
            SELECT item_id, CASE WHEN len(category) > 0 THEN category END AS category, brand, price, created_at
            FROM read_parquet('{items}')""",
        f"""CREATE TEMP TABLE pairs AS
            SELECT user_id, item_id,
                count(*) FILTER (event <> 'impression') AS acts,
                count(*) FILTER (weight <> 0) AS weighed,
                count(*) FILTER (weight > 0) AS events,
                {windows},
                count(*) FILTER (event = 'view') > 0 AS viewed,
                count(*) FILTER (event = 'cart') > 0 AS carted,
                count(*) FILTER (event = 'purchase') AS purchases,
                count(*) FILTER (event = 'refund') > 0 AS refunded,
                sum(weight * {decay}) AS confidence,
                sum({recent}) FILTER (weight > 0) AS recent,
                sum({usual}) FILTER (weight > 0) AS usual,
                count(DISTINCT day) FILTER (event = 'purchase') AS purchase_days,
                min(day) FILTER (event = 'purchase') AS first_day,
                max(day) FILTER (event = 'purchase') AS last_day,
                min(timestamp) AS first_any_at,
                min(timestamp) FILTER (weight <> 0) AS first_at,
                max(timestamp) FILTER (weight <> 0) AS last_at
            FROM events GROUP BY user_id, item_id""",
        *curve_statements(as_of),
        order_statement(as_of),
    ]


def _tables(as_of: datetime, n: int) -> dict[str, str]:
    return {
        "interactions": """
            SELECT user_id, item_id, confidence, weighed AS events, purchase_days,
                DATE '1970-01-01' + first_day::INT AS first_purchase_day,
                DATE '1970-01-01' + last_day::INT AS last_purchase_day, first_at, last_at
            FROM pairs WHERE weighed > 0 ORDER BY user_id, item_id""",
        "sequences": """
            SELECT user_id, item_id, event, timestamp, weight
            FROM events WHERE weight <> 0 ORDER BY user_id, timestamp, event_id""",
        "bought_with": _bought_with(n),
        "item_features": _item_features(as_of),
        "due_items": due_items(as_of),
        "user_profile": _user_profile(),
        "user_segments": user_segments(),
    }


def _bought_with(n: int) -> str:
    return f"""
        WITH lines AS (
            SELECT user_id, session_id, {ORDER_TIME} AS order_time, item_id, min(event_id) AS event_id
            FROM events WHERE event = 'purchase' GROUP BY ALL
        ), orders AS (
            SELECT unnest(list(item_id ORDER BY event_id)[:{MAX_ORDER_ITEMS}]) AS item_id, user_id,
                row_number() OVER () AS number
            FROM lines GROUP BY user_id, session_id, order_time
        ), together AS (
            SELECT a.item_id, b.item_id AS other_item_id, count(DISTINCT a.user_id) AS users
            FROM orders a JOIN orders b USING (number) GROUP BY ALL HAVING users >= {MIN_USERS}
        ), cosines AS (
            SELECT t.item_id, t.other_item_id, t.users, t.users / sqrt(a.users::DOUBLE * b.users) AS cosine
            FROM together t
            JOIN together a ON a.item_id = t.item_id AND a.other_item_id = t.item_id
            JOIN together b ON b.item_id = t.other_item_id AND b.other_item_id = t.other_item_id
            WHERE t.item_id <> t.other_item_id
        )
        SELECT item_id, row_number() OVER (
                PARTITION BY item_id ORDER BY cosine DESC, users DESC, other_item_id
            ) AS rank, other_item_id, users, cosine
        FROM cosines QUALIFY rank <= {n} ORDER BY item_id, rank"""


_PRICE_RANK: Final = """
    SELECT item_id, CASE WHEN price IS NOT NULL AND category IS NOT NULL THEN
        (rank() OVER (PARTITION BY category, price IS NULL ORDER BY price)
            + (count(*) OVER (PARTITION BY category, price) - 1) / 2 - 0.5)
        / count(price) OVER (PARTITION BY category) END AS price_rank
    FROM {priced}"""


def _item_features(as_of: datetime) -> str:
    moment = int(as_of.timestamp() * 1_000_000)
    sums = ", ".join(f"sum(events_{days}d) AS events_{days}d" for days in WINDOW_DAYS)
    users = ", ".join(f"count(*) FILTER (events_{days}d > 0) AS users_{days}d" for days in WINDOW_DAYS)
    known = ", ".join(
        f"coalesce({name}_{days}d, 0) AS {name}_{days}d" for name in ("events", "users") for days in WINDOW_DAYS
    )
    shown = ", ".join(f"{name}_{days}d" for name in ("events", "users") for days in WINDOW_DAYS)
    prior, few = PRIOR_USERS, PRIOR_EVENTS
    windows = [f"revenue_{days}d" for days in WINDOW_DAYS]
    in_windows = ", ".join(
        f"sum(amount) FILTER (age_days <= {days}) AS {name}"
        for days, name in zip(WINDOW_DAYS, windows, strict=True)
    )
    revenues = ", ".join(f"sum({name}) AS {name}" for name in ("revenue", *windows))
    sold = ", ".join(f"coalesce({name}, 0) AS {name}" for name in ("orders", "lines", "units"))
    earned = ", ".join(f"CASE WHEN priced > 0 THEN coalesce({name}, 0) END AS {name}" for name in windows)

    def rate(successes: str, trials: str) -> str:
        shop = f"sum({successes}) OVER () / sum({trials}) OVER ()"
        return (
            f"CASE WHEN sum({trials}) OVER () > 0 THEN ({successes} + {prior} * {shop}) / ({trials} + {prior}) END"
        )

    return f"""
        WITH sums AS (
            SELECT item_id, sum(events) AS events, count(*) FILTER (events > 0) AS users, {sums}, {users},
                sum(confidence) AS popularity, coalesce(sum(recent), 0) AS recent, coalesce(sum(usual), 0) AS usual,
                count(*) FILTER (viewed) AS viewers, count(*) FILTER (carted) AS carters,
                count(*) FILTER (purchases > 0) AS buyers,
                count(*) FILTER (viewed AND carted) AS viewers_who_carted,
                count(*) FILTER (carted AND purchases > 0) AS carters_who_bought,
                count(*) FILTER (viewed AND purchases > 0) AS viewers_who_bought,
                count(*) FILTER (purchases > 0 AND refunded) AS buyers_who_refunded,
                sum(greatest(purchase_days - 1, 0)) AS gaps,
                min(first_any_at) AS first_at
            FROM pairs GROUP BY item_id
        ), prices AS (
            SELECT item_id, count(*) AS prices, sum(price) AS price_sum, arg_max(price, timestamp) AS last_price
            FROM events WHERE price IS NOT NULL GROUP BY item_id
        ), sales AS (
            SELECT item_id, count(*) AS orders, sum(lines) AS lines, sum(priced) AS priced, sum(units) AS units,
                {revenues}
            FROM (
                SELECT item_id, count(*) AS lines, count(price) AS priced, sum(units) AS units,
                    sum(amount) AS revenue, {in_windows}
                FROM (
                    SELECT *, {ORDER_TIME} AS order_time, coalesce(quantity, 1) AS units, price * units AS amount
                    FROM events WHERE event = 'purchase'
                ) GROUP BY user_id, session_id, order_time, item_id
            ) GROUP BY item_id
        ), every AS (
            SELECT coalesce(i.item_id, s.item_id) AS item_id, category,
                coalesce(events, 0) AS events, coalesce(users, 0) AS users, {known},
                coalesce(popularity, 0) AS popularity, coalesce(recent, 0) AS recent, coalesce(usual, 0) AS usual,
                coalesce(viewers, 0) AS viewers, coalesce(carters, 0) AS carters, coalesce(buyers, 0) AS buyers,
                coalesce(viewers_who_carted, 0) AS viewers_who_carted,
                coalesce(carters_who_bought, 0) AS carters_who_bought,
                coalesce(viewers_who_bought, 0) AS viewers_who_bought,
                coalesce(buyers_who_refunded, 0) AS buyers_who_refunded,
                coalesce(gaps, 0) AS gaps, {sold}, revenue, {earned},
                coalesce(i.price, last_price) AS price, last_price, price_sum / prices AS price_mean,
                coalesce(CASE WHEN epoch_us(created_at) < {moment} THEN created_at END, first_at) AS born_at
            FROM items i FULL JOIN sums s ON i.item_id = s.item_id
            LEFT JOIN prices p ON p.item_id = coalesce(i.item_id, s.item_id)
            LEFT JOIN sales l ON l.item_id = coalesce(i.item_id, s.item_id)
        ), shop AS (
            SELECT sum(recent) / sum(usual) AS share, sum(usual) AS all_events FROM every
        ), trends AS (
            SELECT every.*, all_events, share * usual + {few} AS expected, recent + {few} AS newer FROM every, shop
        ), ranks AS ({_PRICE_RANK.format(priced="every")})
        SELECT item_id, events, users, {shown}, popularity,
            CASE WHEN all_events > 0 THEN ln(newer / expected) END AS growth,
            CASE WHEN all_events > 0 THEN 1 / sqrt(newer) END AS growth_error,
            growth - growth_error AS trend,
            {rate("viewers_who_carted", "viewers")} AS view_to_cart,
            {rate("carters_who_bought", "carters")} AS cart_to_purchase,
            {rate("viewers_who_bought", "viewers")} AS view_to_purchase,
            orders, lines, units, revenue, {", ".join(windows)}, price, last_price, price_mean, price_rank,
            ({moment} - epoch_us(born_at)) / {DAY}::DOUBLE AS age_days,
            buyers, repurchase_rate, repurchase_rate_365d, gaps, cycle_days,
            {rate("buyers_who_refunded", "buyers")} AS refund_rate
        FROM trends JOIN ranks USING (item_id) JOIN curves USING (item_id) ORDER BY item_id"""


def _user_profile() -> str:
    windows = ", ".join(f"orders_{days}d" for days in WINDOW_DAYS)
    coalesced = ", ".join(f"coalesce(orders_{days}d, 0) AS orders_{days}d" for days in WINDOW_DAYS)
    counts = ", ".join(
        f"count(*) FILTER (event = '{event}' AND age_days <= {days}) AS {plural}_{days}d"
        for event, plural in NAMES.items()
        for days in WINDOW_DAYS
    )
    hours = ", ".join(f"count(*) FILTER (hour = {hour}) / count(*)" for hour in range(24))
    weekdays = ", ".join(f"count(*) FILTER (weekday = {day}) / count(*)" for day in range(7))
    # The first of January 1970 was a Thursday.
    return f"""
        WITH acts AS (
            SELECT *, epoch_us(timestamp) // 3600000000 % 24 AS hour, (day + 3) % 7 AS weekday
            FROM events WHERE event <> 'impression'
        ), activity AS (
            SELECT user_id, count(*) AS events, min(timestamp) AS first_at, max(timestamp) AS last_at,
                CASE WHEN count(session_id) > 0 THEN count(DISTINCT session_id) END AS sessions,
                count(session_id) / sessions AS events_per_session, {counts},
                [{hours}] AS hour_shares, count(*) FILTER (hour < 6) / count(*) AS night_share,
                [{weekdays}] AS weekday_shares
            FROM acts GROUP BY user_id
        ), last_prices AS (
            SELECT item_id, arg_max(price, timestamp) AS last_price
            FROM events WHERE price IS NOT NULL AND item_id IN (SELECT item_id FROM items WHERE price IS NULL)
            GROUP BY item_id
        ), priced AS (
            SELECT item_id, category, coalesce(price, last_price) AS price
            FROM items LEFT JOIN last_prices USING (item_id)
        ), ranks AS ({_PRICE_RANK.format(priced="priced")}
        ), known AS (
            SELECT p.user_id, p.events AS liked, p.confidence, p.purchases, p.purchase_days, r.price_rank,
                i.category, i.brand
            FROM pairs p LEFT JOIN items i USING (item_id) LEFT JOIN ranks r USING (item_id) WHERE p.acts > 0
        ), tastes AS (
            SELECT user_id, {_variety("liked")} AS item_variety,
                CASE WHEN sum(purchase_days) > 0
                    THEN 1 - count(*) FILTER (purchase_days > 0) / sum(purchase_days) END AS repeat_share,
                sum(purchases * price_rank) / nullif(sum(purchases) FILTER (price_rank IS NOT NULL), 0)
                    AS price_rank_mean
            FROM known GROUP BY user_id
        ), categories AS (
            SELECT user_id, category, sum(confidence) AS confidence, sum(liked) AS liked
            FROM known WHERE category IS NOT NULL GROUP BY user_id, category
        ), varieties AS (
            SELECT user_id, {_variety("liked")} AS category_variety FROM categories GROUP BY user_id
        ), nodes AS (
            SELECT category, unnest(range(1, len(category) + 1)) AS level, category[:level] AS path
            FROM (SELECT DISTINCT category FROM items WHERE category IS NOT NULL)
        ), at_levels AS (
            SELECT user_id, level, path, sum(confidence) AS confidence
            FROM categories JOIN nodes USING (category) GROUP BY ALL HAVING sum(confidence) > 0
        ), paths AS (
            SELECT user_id, level, path, confidence / sum(confidence) OVER (PARTITION BY user_id, level) AS share
            FROM at_levels
            QUALIFY row_number() OVER (PARTITION BY user_id, level ORDER BY confidence DESC, path) <= {MAX_TOP}
        ), category_tops AS (
            SELECT user_id, list({{'path': path, 'share': share}} ORDER BY level, share DESC, path)
                AS category_affinity
            FROM paths GROUP BY user_id
        ), by_brand AS (
            SELECT user_id, brand AS name, sum(confidence) AS confidence
            FROM known WHERE brand IS NOT NULL GROUP BY ALL HAVING sum(confidence) > 0
        ), brands AS (
            SELECT user_id, name, confidence / sum(confidence) OVER (PARTITION BY user_id) AS share FROM by_brand
            QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY confidence DESC, name) <= {MAX_TOP}
        ), brand_tops AS (
            SELECT user_id, list({{'name': name, 'share': share}} ORDER BY share DESC, name) AS brand_affinity
            FROM brands GROUP BY user_id
        )
        SELECT activity.*, orders.* EXCLUDE (user_id, orders, {windows}), coalesce(orders.orders, 0) AS orders,
            {coalesced}, item_variety, repeat_share, price_rank_mean, category_variety, category_affinity,
            brand_affinity, NULL::VARCHAR AS attributes
        FROM activity LEFT JOIN orders USING (user_id)
        LEFT JOIN tastes USING (user_id) LEFT JOIN varieties USING (user_id)
        LEFT JOIN category_tops USING (user_id) LEFT JOIN brand_tops USING (user_id)
        ORDER BY user_id"""


def _variety(counts: str) -> str:
    total = f"sum({counts})"
    spread = f"sum({counts} * ln({counts})) FILTER ({counts} > 0) / ({total} * ln({total}))"
    return f"CASE WHEN {total} > 1 THEN greatest(least(1 - {spread}, 1), 0) END"
