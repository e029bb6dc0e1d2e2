"""The lists step: rank items for every user, for every item and for all users, and write what serving reads."""

from datetime import datetime
from functools import partial
from pathlib import Path

import polars as pl

from features.bought_with import OTHER_ITEM_ID, RANK
from jobs.lake.not_recommendable import mark_never_shown
from jobs.pipeline import models
from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import BLEND, blend_config, list_depth, read_list_limits
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.list_parts import latest_items, part_lengths
from jobs.pipeline.new_users import read_choice, score_items
from jobs.pipeline.step_names import FEATURES, LISTS, model_step
from jobs.pipeline.steps.catalogue import write_catalogue_file
from jobs.pipeline.steps.categories import read_item_features
from jobs.pipeline.steps.evaluate import read_blend_choice
from jobs.pipeline.steps.list_parts import write_part_lists
from jobs.pipeline.steps.list_writing import BLOCK, GROUP_BLOCKS, list_blocks, write_list_file
from jobs.pipeline.steps.popular_lists import unlisted_items, write_popular_lists
from jobs.pipeline.steps.profiles import write_profiles
from jobs.pipeline.steps.rank import RANKER, load_ranker
from jobs.pipeline.steps.user_ranking import UserRanking
from jobs.pipeline.variants import Variants, read_variants
from jobs.progress import Task
from recsys.availability import may_be_listed
from recsys.data.interactions import Interactions
from recsys.data.item_vectors import item_vectors
from recsys.files import atomic_write
from recsys.models._item_item.similarity import SupportFilter
from recsys.models.base import ItemModel, Model
from recsys.models.blend import Blend
from recsys.models.item_knn import ItemKnn
from recsys.models.popularity import Popularity
from recsys.models.trending import Trending
from recsys.ranking.top_k import Exclusion
from recsys.schema import ITEM_ID, USER_ID
from recsys.store.publish.list_files import (
    BOUGHT_WITH_FILE,
    DISLIKED_FILE,
    HISTORY_FILE,
    ITEMS,
    SIMILAR_ITEMS_FILE,
    USER_ITEMS_FILE,
)


def write_lists(context: RunContext) -> RunContext:
    """Rank all items for every user and item, and write all files that serving reads, as one output."""
    context.write_outputs({LISTS: partial(_write_lists, context=context)})
    return context


def _write_lists(directory: Path, context: RunContext) -> None:
    run, settings = context.run, context.settings
    interactions = read_interactions(run, settings.sources)
    online_changes = context.lake.online_changes()  # before the items, so that these include all of them
    items = context.lake.by_item().items().collect()
    attributes = settings.lists.variant_attributes
    never_show = settings.lists.never_show
    shown = mark_never_shown(items, interactions.items.values, never_show)
    variants = read_variants(
        context.lake, interactions.items, interactions.users, run.as_of, attributes, never_show=never_show
    )
    unavailable = unlisted_items(interactions.items, shown, run.as_of) if variants is None else variants.unlisted
    limits = read_list_limits(context.lake, interactions.items, settings.lists)
    exclude = Exclusion(interactions.excluded(settings.repeat), unavailable)
    trend = Trending.load(run.directory / model_step(models.TRENDING)).item_trend
    popularity = score_items(
        read_choice(run).chosen,
        interactions,
        settings,
        Popularity.load(run.directory / model_step(models.POPULARITY)).item_popularity,
        trend,
    )
    users, rows = interactions.shape
    parts = part_lengths(settings)
    lists = users * (1 + len(parts)) + rows
    with context.progress.task(f"rank {rows:,} items for {users:,} users and for each item", lists) as task:
        winner = _load_winner(context, interactions)
        rules = (limits, list_depth(settings), settings.lists.max_exposure)
        ranking = UserRanking(winner, interactions, exclude, *rules)
        write_user_lists(directory, ranking, settings.lists.user_items, task, variants)
        write_part_lists(directory, context, winner, interactions, unavailable, task, variants, limits)
        write_similar_lists(
            directory,
            ItemKnn.load(run.directory / model_step(models.ITEM_KNN)),
            interactions,
            Exclusion(items=unavailable),
            settings.lists.similar_items,
            settings.anomalies.min_support,
            task,
            variants,
        )
        write_popular_lists(
            directory, popularity, trend, interactions, shown, unavailable, settings.lists, variants, limits
        )
    features = run.directory / FEATURES
    with context.progress.task("write histories, profiles and the catalogue") as task:
        bought_with = pl.scan_parquet(features / "bought_with.parquet", glob=False)
        write_bought_with_lists(directory, bought_with, shown, run.as_of, settings.lists.similar_items, variants)
        owned = Exclusion(interactions.owned if settings.repeat == "exclude" or parts else None)
        write_history(directory, interactions, owned, settings.lists.history_items, task)
        write_disliked(directory, interactions, settings.lists.history_items, task)
        write_profiles(directory, run.directory, items, run.as_of)
        vectors = item_vectors(interactions.positives, settings.seed) if settings.serving.diversity > 0 else None
        write_catalogue_file(
            directory,
            interactions,
            popularity,
            items,
            read_item_features(run),
            online_changes,
            vectors,
            None if variants is None else variants.places(),
        )


def _load_winner(context: RunContext, interactions: Interactions) -> Model:
    """Load the model that users get their lists from."""
    if context.winner == RANKER:
        return load_ranker(context.run)
    if context.winner != BLEND:
        return models.load_fitted_model(context.run, str(context.winner))
    config = blend_config(read_blend_choice(context.run), context.settings)
    members = {name: models.load_fitted_model(context.run, name) for name in config.members}
    return Blend(config, members).assemble(interactions)


def write_user_lists(
    directory: Path, ranking: UserRanking, n: int, task: Task, variants: Variants | None = None
) -> None:
    """Write the n items of every user's list, of each group the variant that suits the user."""
    interactions = ranking.interactions
    items = interactions.items if variants is None else variants.items
    blocks = ranking.blocks(n)
    if variants is not None:
        blocks = ((rows, variants.choose(listed, rows)) for rows, listed in blocks)
    write_list_file(directory / USER_ITEMS_FILE, USER_ID, interactions.users, items, blocks, task)


def write_similar_lists(
    directory: Path,
    model: ItemModel,
    interactions: Interactions,
    exclude: Exclusion,
    n: int,
    min_users: int,
    task: Task,
    variants: Variants | None = None,
) -> None:
    """Write the n items most similar to each item, among those that share at least `min_users` users with it.

    All variants of a group have its list.
    """
    items = interactions.items if variants is None else variants.items
    shared = SupportFilter(interactions.positives, min_users)
    blocks = (
        (rows, shared.apply(rows, model.similar(rows, n, exclude)[0]))
        for rows in list_blocks(len(interactions.items))
    )
    if variants is not None:
        blocks = (variants.with_owners(rows, listed) for rows, listed in blocks)
    write_list_file(directory / SIMILAR_ITEMS_FILE, ITEM_ID, items, items, blocks, task)


def write_bought_with_lists(
    directory: Path,
    bought_with: pl.LazyFrame,
    items: pl.DataFrame,
    as_of: datetime,
    n: int,
    variants: Variants | None = None,
) -> None:
    """Write the n items that may be listed most often bought with each item, from the feature table.

    All variants of a group have its list.
    """
    unavailable = items.lazy().filter(~may_be_listed(as_of)).select(pl.col(ITEM_ID).alias(OTHER_ITEM_ID))
    shown = bought_with if variants is None else variants.show_default(bought_with, OTHER_ITEM_ID)
    lists = (
        shown.join(unavailable, on=OTHER_ITEM_ID, how="anti")
        .sort(ITEM_ID, RANK)
        .group_by(ITEM_ID, maintain_order=True)
        .agg(pl.col(OTHER_ITEM_ID).head(n).alias(ITEMS))
        .collect()
    )
    with atomic_write(directory / BOUGHT_WITH_FILE) as partial_file:
        if variants is None:
            lists.write_parquet(partial_file, row_group_size=BLOCK * GROUP_BLOCKS)
        else:
            given = variants.give_to_all(lists.lazy())
            given.sink_parquet(partial_file, row_group_size=BLOCK * GROUP_BLOCKS, engine="streaming")


def write_history(directory: Path, interactions: Interactions, exclude: Exclusion, n: int, task: Task) -> None:
    """Write the n latest items of each user, if `exclude` excludes histories; otherwise write no rows."""
    users = 0 if exclude.user_items is None else len(interactions.users)
    blocks = ((rows, latest_items(interactions, interactions.is_owning, rows, n)) for rows in list_blocks(users))
    write_list_file(directory / HISTORY_FILE, USER_ID, interactions.users, interactions.items, blocks, task)


def write_disliked(directory: Path, interactions: Interactions, n: int, task: Task) -> None:
    """Write the n items that each user disliked last; without dislikes write no rows."""
    mask = interactions.is_disliked
    users = len(interactions.users) if mask.any() else 0
    blocks = ((rows, latest_items(interactions, mask, rows, n)) for rows in list_blocks(users))
    write_list_file(directory / DISLIKED_FILE, USER_ID, interactions.users, interactions.items, blocks, task)
