"""Orders and segments of users in DuckDB SQL, for `tests.benchmarks.features_in_duckdb`."""

from datetime import datetime
from typing import Final

from features.events import WINDOW_DAYS
from features.users.orders import PRIOR_ORDERS
from features.users.segments import LAPSED_SHARE, LATE_SHARE, LOYAL_SCORE, PRIOR_GAPS, SCORES
from features.users.shop_purchases import RECENT_SPEND_DAYS, USUAL_SPEND_DAYS

DAY: Final = 86_400_000_000
ORDER_TIME: Final = "CASE WHEN session_id IS NULL THEN timestamp END"


def order_statement(as_of: datetime) -> str:
    """Return the statement that makes a table `orders`, a row for each user with a purchase, from `events`."""
    moment = int(as_of.timestamp() * 1_000_000)
    windows = ", ".join(f"count(*) FILTER (age_days <= {days}) AS orders_{days}d" for days in WINDOW_DAYS)
    return f"""
        CREATE TEMP TABLE orders AS WITH lines AS (
            SELECT *, {ORDER_TIME} AS order_time, coalesce(quantity, 1) AS units, price * units AS paid
            FROM events WHERE event = 'purchase'
        ), mean_prices AS (
            SELECT item_id, avg(price) AS mean_price
            FROM lines WHERE price IS NOT NULL GROUP BY item_id HAVING sum(price) > 0
        ), shop AS (
            SELECT sum(paid * {_decay(RECENT_SPEND_DAYS)}) / sum(paid * {_decay(USUAL_SPEND_DAYS)}) AS share
            FROM lines
        ), baskets AS (
            SELECT user_id, min(timestamp) AS began, count(DISTINCT item_id) AS items, sum(paid) AS amount,
                ({moment} - epoch_us(began)) / {DAY}::DOUBLE AS age_days
            FROM lines GROUP BY user_id, session_id, order_time
        ), gaps AS (
            SELECT *, (epoch_us(began) - lag(epoch_us(began)) OVER (PARTITION BY user_id ORDER BY began)) / {DAY}
                AS gap
            FROM baskets
        ), sums AS (
            SELECT user_id, count(*) AS orders, {windows}, min(began) AS first_order_at,
                max(began) AS last_order_at, max(age_days) AS tenure_days,
                min(age_days) AS recency_days, sum(amount) AS spent,
                sum(amount) / count(amount) AS order_value_mean, sum(items) / count(*) AS order_items_mean,
                avg(gap) AS order_gap_days_mean,
                CASE WHEN count(gap) > 1 THEN stddev_samp(gap) END AS order_gap_days_deviation,
                list(gap ORDER BY began, gap DESC NULLS FIRST)[-1] AS last_gap_days,
                sum(amount * {_decay(RECENT_SPEND_DAYS)}) / order_value_mean AS recent,
                sum(amount * {_decay(USUAL_SPEND_DAYS)}) / order_value_mean AS usual
            FROM gaps GROUP BY user_id
        ), by_line AS (
            SELECT user_id, median(price) AS price_median, CASE WHEN sum(units) > 0 THEN 0.0 END AS return_rate,
                1 - sum(price) FILTER (mean_price IS NOT NULL) / sum(mean_price) FILTER (price IS NOT NULL)
                    AS deal_affinity
            FROM lines LEFT JOIN mean_prices USING (item_id) GROUP BY user_id
        )
        SELECT sums.* EXCLUDE (recent, usual), price_median, return_rate, deal_affinity,
            CASE WHEN spent > 0 THEN ln((recent + {PRIOR_ORDERS}) / (usual * share + {PRIOR_ORDERS})) END
                AS spend_growth,
            CASE WHEN spent > 0 THEN 1 / sqrt(recent + {PRIOR_ORDERS}) END AS spend_growth_error
        FROM sums JOIN by_line USING (user_id), shop"""


def _decay(half_life_days: float) -> str:
    return f"pow(0.5, age_days / {half_life_days})"


def user_segments() -> str:
    """Return the query of the segments of every user, from the tables `orders` and `pairs`."""

    def score(value: str) -> str:
        rank = f"rank() OVER (ORDER BY {value} NULLS LAST)"
        return f"CASE WHEN {value} IS NOT NULL THEN 1 + ({rank} - 1) * {SCORES} // count({value}) OVER () END"

    def longest(share: float) -> str:
        place = f"ceil({share} * (count(last_wait) - 1))::INT + 1"
        return f"(SELECT list(last_wait ORDER BY last_wait)[{place}] FROM came_back)"

    return f"""
        WITH users AS (
            SELECT * FROM (SELECT DISTINCT user_id FROM pairs WHERE acts > 0) LEFT JOIN orders USING (user_id)
        ), shop AS (SELECT avg(order_gap_days_mean) AS shop_gap FROM orders
        ), scores AS (
            SELECT user_id, coalesce(orders, 0) AS orders, recency_days, last_gap_days,
                {score("(-recency_days)")} AS recency_score, {score("orders")} AS frequency_score,
                {score("spent")} AS monetary_score,
                CASE WHEN orders > 0 THEN coalesce(
                    ((orders - 1) * order_gap_days_mean + {PRIOR_GAPS} * shop_gap) / (orders - 1 + {PRIOR_GAPS}),
                    shop_gap
                ) END AS usual_gap_days
            FROM users, shop
        ), waits AS (
            SELECT *, CASE WHEN usual_gap_days > 0 THEN recency_days / usual_gap_days END AS wait,
                CASE WHEN usual_gap_days > 0 THEN last_gap_days / usual_gap_days END AS last_wait
            FROM scores
        ), came_back AS (SELECT last_wait FROM waits WHERE last_wait IS NOT NULL)
        SELECT user_id, recency_score, frequency_score, monetary_score, usual_gap_days, wait,
            CASE WHEN orders = 0 THEN 'prospect' WHEN wait > {longest(LAPSED_SHARE)} THEN 'lapsed'
                WHEN wait > {longest(LATE_SHARE)} THEN 'at_risk' WHEN orders = 1 THEN 'new'
                WHEN frequency_score >= {LOYAL_SCORE} THEN 'loyal' ELSE 'active' END AS lifecycle_stage
        FROM waits ORDER BY user_id"""
