"""Definitions of the metrics, as the report prints them."""

from typing import Final

EXPLANATIONS: Final = {
    "ndcg": "Normalized discounted cumulative gain: how many relevant items are in the list, where hits near the "
    "top count more than hits further down. 1 means that all relevant items are at the top.",
    "recall": "Share of a user's relevant items that are in the list.",
    "hit_rate": "Share of users whose list holds at least one relevant item.",
    "precision": "Share of the list positions that hold a relevant item.",
    "f1": "Harmonic mean of recall and precision; high only when both are high.",
    "map": "Mean average precision: the precision at the position of each hit, added up and divided by the "
    "number of the user's relevant items.",
    "mrr": "Mean reciprocal rank of the first hit: 1 for the first position, 0.5 for the second, 0.33 for the "
    "third.",
    "auc": "Area under the ROC curve over all items: the probability that a relevant item has a higher score than "
    "an item that is not relevant. A random order has 0.5. Measured on up to 1,000 users; not for a blend, which "
    "ranks only the items of its members' lists.",
    "coverage": "Share of the catalogue that is in at least one user's list.",
    "gini": "Inequality of exposure: 0 when all items are recommended equally often, 1 when one item takes all "
    "list positions.",
    "novelty": "Mean self-information of the recommended items in bits: one bit more means items that half as "
    "many users have interacted with.",
    "diversity": "Mean dissimilarity of two items of a list, from 0 to 1. It compares the levels of the category "
    "paths where most items have a category, and otherwise the users who have interacted with the items.",
    "popularity": "Mean share of all users who have interacted with a recommended item. A high value means that "
    "the lists hold popular items.",
    "head_share": "Share of the list positions that are taken by head items, the most popular items.",
}
