"""What each metric means, for those who have never met it."""

from typing import Final

EXPLANATIONS: Final = {
    "ndcg": "How much of what a shopper went on to want is in the list, where a hit near the top counts for "
    "more than one further down. 1 means that everything wanted stood at the top.",
    "recall": "Of everything a shopper went on to want, the share that was in the list.",
    "hit_rate": "Share of shoppers whose list held at least one item that they went on to want.",
    "precision": "Of the places in the list, the share that held something the shopper went on to want.",
    "f1": "Recall and precision in one figure, high only when both are.",
    "map": "How early the hits come. Each hit counts as the share of hits among the places down to it; the sum "
    "is divided by the number of items the shopper wanted.",
    "mrr": "How far down the first hit is: 1 when it comes first, 0.5 when second, 0.33 when third.",
    "auc": "The chance that an item the shopper wanted stands above one the shopper did not. A blind draw "
    "gives 0.5.",
    "coverage": "Share of the catalogue that is in at least one shopper's list.",
    "gini": "How unevenly the lists spread attention: 0 when every item is shown as often as any other, 1 when "
    "a single item takes every place.",
    "novelty": "How far the lists go beyond what everyone has, in bits: one bit more means items that half as "
    "many shoppers have.",
    "diversity": "How far apart two items of a list are, on average: 0 when they are alike in everything that is "
    "compared, 1 when in nothing. Compared are the levels of their categories where most items have one, and "
    "the shoppers who have them where not.",
    "popularity": "Of all shoppers, the share who have an item of the lists, on average. High means that the lists "
    "show what everybody has.",
    "head_share": "Share of all places that are taken by head items, the few most popular ones.",
}
