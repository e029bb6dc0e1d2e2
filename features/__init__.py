"""Features of users and items at one point in time, as Polars tables.

Each table is a pure function of LazyFrames with the columns of `recsys.schema`; it reads, writes and collects
nothing unless its docstring says so. `as_of` is the point in time, an aware datetime in UTC: only events strictly
before it count (`features.events.events_before`), so that a run at midnight includes the whole previous day.
Amounts are summed in fixed point (`features.events.exact_sum`), so that results are bit-identical for any order of
the rows and any split of users into buckets. `features.registry.describe` lists all columns with meaning and unit.
"""
