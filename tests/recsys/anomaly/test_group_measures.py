import numpy as np
import polars as pl

from features.behavior import BEHAVIOR
from recsys.anomaly.group_measures import (
    COHERENCE,
    MAX_REPEATS,
    MEASURES,
    REPEATS,
    SIMILARITY,
    measure_graph,
    one_sided_measures,
)
from recsys.anomaly.reason_texts import FEATURE_PHRASES
from recsys.schema import USER_ID
from tests.recsys.anomaly.graphs import draw_customers


def column(table: pl.DataFrame, name: str) -> list[float]:
    place = [measure.name for measure in MEASURES].index(name)
    return one_sided_measures(table)[:, place].tolist()


def test_a_measure_counts_on_the_suspicious_side_of_the_median() -> None:
    table = pl.DataFrame(
        {
            COHERENCE: [0.1, 0.5, 0.9],  # only the incoherent
            "busiest_day_share": [0.1, 0.2, 0.8],  # only what is much
            "items": [1, 10, 20],  # both
            SIMILARITY: [0.2, 0.6, 0.9],  # only copies
        }
    )
    np.testing.assert_allclose(column(table, COHERENCE), [-0.4, 0, 0])
    np.testing.assert_allclose(column(table, "busiest_day_share"), [0, 0, 0.6], atol=1e-12)
    assert column(table, "items") == [1, 10, 20]
    np.testing.assert_allclose(column(table, SIMILARITY), [0, 0, 0.3])


def test_what_is_not_known_of_the_shop_is_unknown_of_all() -> None:
    table = pl.DataFrame(
        {"users_per_ip": [None, None], "items": [1, 2]}, schema_overrides={"users_per_ip": pl.Float64}
    )
    assert np.isnan(column(table, "users_per_ip")).all()
    assert np.isnan(column(table, "active_days")).all()


def test_the_graph_tells_how_often_an_item_comes_again() -> None:
    shop = draw_customers(60, 80, 2, 6, seed=0)
    events = np.ones(shop.nnz)
    events[0] = 7
    table = measure_graph(shop, events, seed=0)
    assert table.height == 60
    assert table[MAX_REPEATS].to_list() == [7.0] + [1.0] * 59
    items = shop.indptr[1]
    assert table[REPEATS][0] == (7 + items - 1) / items


def test_every_figure_that_may_be_a_reason_has_words() -> None:
    table = measure_graph(
        draw_customers(60, 80, 2, 6, seed=0), np.ones(draw_customers(60, 80, 2, 6, seed=0).nnz), seed=0
    )
    figures = {feature.name for feature in BEHAVIOR} - {USER_ID} | set(table.columns)
    assert figures == set(FEATURE_PHRASES)
