"""The second stage: candidates of several models, re-ranked by gradient boosted trees."""
