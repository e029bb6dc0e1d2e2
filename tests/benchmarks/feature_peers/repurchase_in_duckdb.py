"""Repurchase curves of items and due items in DuckDB SQL, for `tests.benchmarks.features_in_duckdb`."""

from datetime import datetime
from typing import Final

import numpy as np

from features.repurchase.due_items import HORIZON_DAYS, MAX_DUE_ITEMS, MIN_STILL_BUYS
from features.repurchase.due_items import PRIOR_GAPS as GAPS
from features.repurchase.purchase_gaps import GRID, PRIOR_GAPS, REPURCHASE_DAYS

DAY: Final = 86_400_000_000
CELLS: Final = len(GRID)
WIDTHS: Final = np.diff(GRID, prepend=0).tolist()
CELL_OF_DAY: Final = np.searchsorted(GRID, range(1, GRID[-1] + 2)).tolist()


def curve_statements(as_of: datetime) -> list[str]:
    """Return the statements that make a table `curves` from the tables `events`, `items` and `pairs`."""
    last_whole_day = int(as_of.timestamp() * 1_000_000) // DAY - 1
    return [
        f"""CREATE TEMP TABLE cells AS
            SELECT unnest(range({CELLS + 1})) AS cell, unnest({[*GRID, 0]}) AS last_day,
                unnest({[*WIDTHS, 1]}) AS width""",
        f"""CREATE TEMP TABLE gap_counts AS
            WITH cell_of_day AS (
                SELECT unnest(range(1, {GRID[-1] + 2})) AS day, unnest({CELL_OF_DAY}) AS cell
            ), days AS (
                SELECT DISTINCT user_id, item_id, day FROM events WHERE event = 'purchase'
            ), gaps AS (
                SELECT item_id, {last_whole_day} - day AS open_days,
                    lead(day) OVER (PARTITION BY user_id, item_id ORDER BY day) - day AS ended_days
                FROM days
            )
            SELECT item_id, cell, count(ended_days) AS ended, count(*) - count(ended_days) AS open
            FROM gaps JOIN cell_of_day ON cell_of_day.day = least(coalesce(ended_days, open_days), {GRID[-1] + 1})
            GROUP BY item_id, cell""",
        """CREATE TEMP TABLE located AS
            WITH every AS (
                SELECT item_id, category FROM (SELECT item_id FROM items UNION SELECT item_id FROM pairs)
                LEFT JOIN items USING (item_id)
            ), categories AS (
                SELECT row_number() OVER () AS place, category FROM (SELECT DISTINCT category FROM every)
            )
            SELECT item_id, place, every.category
            FROM every JOIN categories ON every.category IS NOT DISTINCT FROM categories.category""",
        f"""CREATE TEMP TABLE curves AS
            WITH shop AS (
                {_hazards("SELECT 0 AS id, cell, ended, open FROM gap_counts", None)}
            ), of_category AS (
                {_hazards("SELECT place AS id, cell, ended, open FROM located LEFT JOIN gap_counts USING (item_id)",
                          "SELECT place AS id, s.cell, s.hazard FROM (SELECT DISTINCT place FROM located), shop s")}
            ), category_hazards AS (
                SELECT o.id, o.cell, CASE WHEN category IS NULL THEN s.hazard ELSE o.hazard END AS hazard
                FROM of_category o JOIN shop s USING (cell)
                JOIN (SELECT DISTINCT place, category FROM located) ON place = o.id
            ), item_hazards AS (
                {_hazards("SELECT item_id AS id, cell, ended, open FROM gap_counts",
                          '''SELECT item_id AS id, cell, hazard FROM located JOIN category_hazards ON id = place
                             WHERE item_id IN (SELECT item_id FROM gap_counts)''')}
            ), of_items AS ({_summary("item_hazards")}), of_categories AS ({_summary("category_hazards")})
            SELECT item_id, coalesce(i.quarter, c.quarter) AS repurchase_rate,
                coalesce(i.year, c.year) AS repurchase_rate_365d, coalesce(i.cycle, c.cycle) AS cycle_days
            FROM located JOIN of_categories c ON c.id = place LEFT JOIN of_items i ON i.id = item_id""",
    ]  # fmt: skip


def _hazards(counts: str, prior: str | None) -> str:
    """Return the hazard of each id and cell, from rows of gaps, shrunk to the hazards of a prior."""
    at_risk = "later + ended + open * (width + 1) / (2 * width)"
    hazard = f"coalesce(ended / nullif({at_risk}, 0), 0)"
    if prior is not None:
        hazard = f"(ended + {PRIOR_GAPS} * p.hazard) / ({at_risk} + {PRIOR_GAPS})"
    return f"""
        SELECT n.id, n.cell, {hazard} AS hazard FROM (
            SELECT id, cell, width, ended, open, coalesce(sum(ended + open) OVER (
                    PARTITION BY id ORDER BY cell DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ), 0) AS later
            FROM (
                SELECT id, cell, any_value(width) AS width, coalesce(sum(ended), 0) AS ended,
                    coalesce(sum(open), 0) AS open
                FROM (SELECT DISTINCT id FROM ({counts})) CROSS JOIN cells
                LEFT JOIN ({counts}) USING (id, cell) GROUP BY id, cell
            )
        ) n {"" if prior is None else f"JOIN ({prior}) p USING (id, cell)"} WHERE n.cell < {CELLS}"""


def _summary(hazards: str) -> str:
    """Return the share bought again in a quarter and a year, and the median gap of the latter, of each id."""
    return f"""
        SELECT id, quarter, year, min(last_day + 0.5 - width * (1 - (half - before) / (bought - before)))
                FILTER (bought >= half AND before < half) AS cycle
        FROM (
            SELECT *, lag(bought, 1, 0) OVER (PARTITION BY id ORDER BY cell) AS before,
                any_value(bought) FILTER (cell = {GRID.index(REPURCHASE_DAYS)}) OVER (PARTITION BY id) AS quarter,
                max(bought) OVER (PARTITION BY id) AS year, year * 0.5 * (1 - 1e-12) AS half
            FROM (
                SELECT *, 1 - product(1 - hazard) OVER (PARTITION BY id ORDER BY cell) AS bought
                FROM {hazards} JOIN cells USING (cell)
            )
        ) GROUP BY id, quarter, year"""


def due_items(as_of: datetime) -> str:
    """Return the query of the due items of every user."""
    moment = int(as_of.timestamp() * 1_000_000)
    last_whole_day = moment // DAY - 1
    return f"""
        WITH known AS (
            SELECT user_id, item_id, last_day, purchase_days - 1 AS gaps,
                (last_day - first_day + {GAPS} * cycle_days) / (gaps + {GAPS}) AS cycle,
                (gaps + {GAPS} * repurchase_rate_365d) / (gaps + {GAPS}) AS returns,
                greatest({last_whole_day} - last_day, 0) AS days
            FROM pairs JOIN curves USING (item_id)
            WHERE purchase_days > 0
                AND item_id IN (SELECT item_id FROM pairs WHERE purchase_days > 1)
        ), chances AS (
            SELECT *, returns * exp(-days / cycle) AS open, open / (open + 1 - returns) AS still_buys,
                still_buys * (1 - exp(-{HORIZON_DAYS} / cycle)) AS probability
            FROM known
        )
        SELECT user_id, row_number() OVER (
                PARTITION BY user_id ORDER BY round(probability, 9) DESC, item_id
            ) AS rank, item_id,
            greatest(
                make_timestamptz({DAY} * (last_day + floor(cycle + 0.500001)::BIGINT)), make_timestamptz({moment})
            ) AS due_at, probability
        FROM chances WHERE still_buys >= {MIN_STILL_BUYS} QUALIFY rank <= {MAX_DUE_ITEMS} ORDER BY user_id, rank"""
