"""User profiles for serving: a short JSON object for each user."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet

from features.events import exact_sum
from features.item_categories import category_paths
from recsys.files import atomic_write
from recsys.schema import CATEGORY, CATEGORY_SEPARATOR, CONFIDENCE, EVENTS, ITEM_ID, LAST_AT, USER_ID
from recsys.store.publish.list_files import ITEMS, PROFILES_FILE

MAX_PREFERRED = 3
GROUP_USERS = 16_384

PURCHASES = "purchases"
CATEGORIES = "categories"
BRANDS = "brands"


def write_profiles(directory: Path, features: Path, items: pl.DataFrame) -> None:
    """Write a JSON object for each user of the feature tables, reading one bucket of users at a time.

    `events` counts all but impressions, `purchases` orders; `last_at` is the last event in UTC; `categories` (whole
    paths) and `brands` are the up to three that the user prefers. Empty fields are left out.
    """
    schema = pa.schema([(USER_ID, pa.large_string()), (ITEMS, pa.large_list(pa.large_string()))])
    # No two texts are equal, so a dictionary would only waste space.
    writer = pyarrow.parquet.ParquetWriter
    with (
        atomic_write(directory / PROFILES_FILE) as partial_file,
        writer(partial_file, schema, compression="zstd", use_dictionary=False) as out,
    ):
        for file in sorted((features / "user_profile").glob("*.parquet")):
            profiles = pl.scan_parquet(file, glob=False, hive_partitioning=False)
            interactions = pl.scan_parquet(
                features / "interactions" / file.name, glob=False, hive_partitioning=False
            )
            texts = profile_texts(profiles, interactions, items.lazy()).collect()
            out.write_table(texts.to_arrow().cast(schema), row_group_size=GROUP_USERS)


def profile_texts(profiles: pl.LazyFrame, interactions: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    """Return a list of one text for each row of `user_profile`, in its order, (user_id, items)."""
    brands = pl.col("brand_affinity").list.head(MAX_PREFERRED).list.eval(pl.element().struct.field("name"))
    facts = {
        EVENTS: pl.col(EVENTS),
        PURCHASES: pl.col("orders"),
        LAST_AT: pl.col(LAST_AT).dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
        CATEGORIES: pl.col(CATEGORIES),
        BRANDS: pl.when(brands.list.len() > 0).then(brands),
    }
    return (
        profiles.join(_categories(interactions, items), on=USER_ID, how="left", maintain_order="left")
        .select(USER_ID, **facts)
        .select(USER_ID, pl.concat_list(_json(list(facts))).alias(ITEMS))
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


def _json(names: list[str]) -> pl.Expr:
    """Return a compact JSON object of some columns, without those that are null."""
    members = [
        pl.when(pl.col(name).is_not_null()).then(
            pl.struct(name).struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")
        )
        for name in names
    ]
    return pl.format("{}{}{}", pl.lit("{"), pl.concat_str(members, separator=",", ignore_nulls=True), pl.lit("}"))
