"""User profiles for serving: a JSON object for each user."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet

from features.events import WINDOW_DAYS, exact_sum
from features.item_categories import category_paths
from jobs.lake.event_writer import scan_files
from jobs.pipeline.step_names import FEATURES
from jobs.pipeline.user_rows import bucket_files, user_rows
from recsys.files import atomic_write
from recsys.schema import ATTRIBUTES, CATEGORY, CATEGORY_SEPARATOR, CONFIDENCE, ITEM_ID, USER_ID
from recsys.store.publish.list_files import ITEMS, PROFILES_FILE

SCHEMA: Final = 2
"""Version of the fields of a profile, which grows when a field is renamed, removed or changes its meaning."""
MAX_PREFERRED: Final = 3
GROUP_USERS: Final = 16_384
DECIMALS: Final = 3

CATEGORIES: Final = "categories"
BRANDS: Final = "brands"
SPEND_TREND: Final = "spend_trend"

_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_GROWTH: Final = "spend_growth"
_GROWTH_ERROR: Final = "spend_growth_error"
_NOT_PUBLISHED: Final = (USER_ID, ATTRIBUTES, _GROWTH, _GROWTH_ERROR)
_WINDOWS: Final = tuple(f"_{days}d" for days in WINDOW_DAYS)
_NULL_MEMBERS: Final = r',"[a-z0-9_]+":null'


def write_profiles(directory: Path, run: Path, items: pl.DataFrame, as_of: datetime) -> None:
    """Write a JSON object for each user of the feature tables of a run, reading one bucket of users at a time.

    Its fields are those of `jobs.pipeline.user_rows`, with numbers rounded to three decimals and times to seconds
    in UTC, the fields of `profile_texts`, and `schema` and `as_of`. Fields without a value, and counts of windows
    that are 0, are left out.
    """
    schema = pa.schema([(USER_ID, pa.large_string()), (ITEMS, pa.large_list(pa.large_string()))])
    # No two texts are equal, so a dictionary would only waste space.
    writer = pyarrow.parquet.ParquetWriter
    with (
        atomic_write(directory / PROFILES_FILE) as partial_file,
        writer(partial_file, schema, compression="zstd", use_dictionary=False) as out,
    ):
        for file in bucket_files(run):
            interactions = scan_files([run / FEATURES / "interactions" / file.name])
            texts = profile_texts(user_rows(run, file), interactions, items.lazy(), as_of)
            out.write_table(texts.collect(engine="streaming").to_arrow().cast(schema), row_group_size=GROUP_USERS)


def profile_texts(
    rows: pl.LazyFrame, interactions: pl.LazyFrame, items: pl.LazyFrame, as_of: datetime
) -> pl.LazyFrame:
    """Return a list of one text for each row of `user_rows`, in its order, (user_id, items).

    `categories` (whole paths) and `brands` are the up to three that the user prefers; `spend_trend` is rising or
    falling where the growth of the user's spend differs from 0 by more than its error, else steady.
    """
    brands = pl.col("brand_affinity").list.head(MAX_PREFERRED).list.eval(pl.element().struct.field("name"))
    names = [name for name in rows.collect_schema().items() if name[0] not in _NOT_PUBLISHED]
    members = [
        pl.lit(SCHEMA).alias("schema"),
        pl.lit(as_of.strftime(_TIME)).alias("as_of"),
        *(_published(name, dtype).alias(name) for name, dtype in names),
        _spend_trend().alias(SPEND_TREND),
        pl.col(CATEGORIES),
        pl.when(brands.list.len() > 0).then(brands).alias(BRANDS),
    ]
    # In a text a quote is escaped, so that nothing in it looks like the name of a member.
    text = pl.struct(members).struct.json_encode().str.replace_all(_NULL_MEMBERS, "")
    return rows.join(_categories(interactions, items), on=USER_ID, how="left", maintain_order="left").select(
        USER_ID, pl.concat_list(text).alias(ITEMS)
    )


def _published(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column as it is in a profile."""
    column, element = pl.col(name), pl.element()
    if dtype.is_temporal():
        return column.dt.to_string(_TIME)
    if dtype.is_float():
        return column.round(DECIMALS)
    if dtype.is_integer() and name.endswith(_WINDOWS):
        return pl.when(column > 0).then(column)
    if not isinstance(dtype, pl.List):
        return column
    inner = dtype.inner
    if isinstance(inner, pl.Struct):
        fields = [_published_field(field.name, field.dtype) for field in inner.fields]
        return column.list.eval(pl.struct(fields))
    return column.list.eval(element.round(DECIMALS))


def _published_field(name: str, dtype: Any) -> pl.Expr:
    field = pl.element().struct.field(name)
    if isinstance(dtype, pl.List):
        return field.list.join(CATEGORY_SEPARATOR).alias(name)
    if dtype.is_temporal():
        return field.dt.to_string(_TIME).alias(name)
    return field.round(DECIMALS).alias(name) if dtype.is_float() else field


def _spend_trend() -> pl.Expr:
    growth, error = pl.col(_GROWTH), pl.col(_GROWTH_ERROR)
    return (
        pl.when(growth.is_null())
        .then(None)
        .when(growth > error)
        .then(pl.lit("rising"))
        .when(growth < -error)
        .then(pl.lit("falling"))
        .otherwise(pl.lit("steady"))
    )


def _categories(interactions: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """Rank the category paths that each user prefers, ties by name; only those with a confidence above 0.

    An item counts for each of its paths.
    """
    path = pl.col(CATEGORY).list.drop_nulls().list.join(CATEGORY_SEPARATOR)
    paths = category_paths(items).select(ITEM_ID, path).filter(pl.col(CATEGORY) != "")
    return (
        interactions.join(paths, on=ITEM_ID)
        .group_by(USER_ID, CATEGORY)
        .agg(exact_sum(pl.col(CONFIDENCE)).alias(CONFIDENCE))
        .filter(pl.col(CONFIDENCE) > 0)
        .sort(CONFIDENCE, CATEGORY, descending=[True, False])
        .group_by(USER_ID, maintain_order=True)
        .agg(pl.col(CATEGORY).head(MAX_PREFERRED).alias(CATEGORIES))
    )
