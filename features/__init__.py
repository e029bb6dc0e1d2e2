"""What users and items are like at one moment, as Polars tables.

Every table is a pure function of LazyFrames with the columns of `recsys.schema`; nothing is read, written or
collected except where a docstring says so. `as_of`, an aware datetime in UTC, is the moment: events strictly before
it count (`features.events.before`), so a run at midnight takes the whole day before and nothing of the next.
Amounts are added up in fixed point (`features.events.exact_sum`), so neither the order of the rows nor how users
are split into buckets changes a bit. `features.registry.describe` lists every column with its meaning and unit.
"""
