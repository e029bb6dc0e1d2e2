"""The models of a run, fitted on everything known at `as_of`, and the lists they give."""

import shutil
from functools import partial
from pathlib import Path

import polars as pl

from jobs.lake import Lake
from jobs.pipeline.candidates import build_candidate
from jobs.pipeline.run import Run
from jobs.pipeline.steps.catalogue import item_vectors, write_catalogue_file
from jobs.pipeline.steps.evaluate import BLEND, blend_choice, blend_config
from jobs.pipeline.steps.lists import (
    unavailable_items,
    write_bought_with_lists,
    write_history,
    write_popular_lists,
    write_similar_lists,
    write_user_lists,
)
from jobs.pipeline.steps.profiles import write_profiles
from jobs.pipeline.windows import known_in_run
from jobs.progress import Progress
from recsys.data.interactions import Interactions
from recsys.models.base import Model, NeuralModel, TrainingOptions
from recsys.models.blend import Blend
from recsys.models.categories.levels import category_path
from recsys.models.item_knn import ItemKnn
from recsys.models.light_gcn import LightGcn
from recsys.models.popularity import Popularity
from recsys.models.registry import model_type
from recsys.models.trending import Trending
from recsys.ranking.top_k import Exclusion
from recsys.settings import Settings

# What is published beside every user's list: popular, trending and similar items.
ALWAYS = ("popularity", "trending", "item_knn")
LISTS = "lists"
CHECKPOINTS = "checkpoints"


def train(run: Run, lake: Lake, settings: Settings, winner: str, progress: Progress) -> None:
    """Fit the winner or a blend's members, and the models of what is nobody's own list, each as a step."""
    done = run.manifest()["steps"]
    members = blend_choice(run).weights if winner == BLEND else [winner]
    wanted = {*members, *ALWAYS}
    if LightGcn.name in settings.models and _lacks_categories(lake):
        wanted.add(LightGcn.name)
    missing = [name for name in sorted(wanted) if model_step(name) not in done]
    if not missing:
        return
    known = known_in_run(run.directory / "features", run.as_of)
    for name in missing:
        model = build_for_run(run, name, settings, progress)
        run.step(model_step(name), partial(_fit, model=model, known=known))
        progress.done()
    shutil.rmtree(run.directory / CHECKPOINTS, ignore_errors=True)


def _lacks_categories(lake: Lake) -> bool:
    """Whether some items have a category and others none, which the graph model's vectors tell."""
    without = lake.items().select(category_path().is_null()).collect().to_series()
    return bool(without.any()) and not without.all()


def write_lists(run: Run, lake: Lake, settings: Settings, winner: str, progress: Progress) -> None:
    """Rank all items for every user and item, and write what the online half knows of them, as one step."""
    if LISTS not in run.manifest()["steps"]:
        run.step(
            LISTS, partial(_write_lists, run=run, lake=lake, settings=settings, winner=winner, progress=progress)
        )


def build_for_run(run: Run, name: str, settings: Settings, progress: Progress) -> Model:
    """The model called `name`, not yet fitted; a long fit keeps its state in the run, and goes on from there."""
    model = build_candidate(name, settings)
    progress.start(f"fit {name} on all events", model.config.epochs if isinstance(model, NeuralModel) else None)
    if isinstance(model, NeuralModel):
        checkpoint = run.directory / CHECKPOINTS / f"{name}.safetensors"
        model.training = TrainingOptions(checkpoint, on_epoch=lambda _done, _epochs: progress.advance(1))
    return model


def _fit(directory: Path, model: Model, known: Interactions) -> None:
    model.fit(known).save(directory)


def _write_lists(
    directory: Path, run: Run, lake: Lake, settings: Settings, winner: str, progress: Progress
) -> None:
    features = run.directory / "features"
    known = known_in_run(features, run.as_of)
    items = lake.items().collect()
    unavailable = unavailable_items(known.items, items)
    exclude = Exclusion(known.user_items if settings.repeat == "exclude" else None, unavailable)
    users, rows = known.shape
    progress.start(f"rank {rows:,} items for {users:,} users, and for each other", users + rows)
    model = _published(run, settings, winner, known)
    write_user_lists(directory, model, known, exclude, settings.lists.user_items, progress)
    similar = ItemKnn.load(run.directory / model_step("item_knn"))
    write_similar_lists(
        directory,
        similar,
        known,
        Exclusion(items=unavailable),
        settings.lists.similar_items,
        settings.anomalies.min_support,
        progress,
    )
    popularity = Popularity.load(run.directory / model_step("popularity")).item_popularity
    trend = Trending.load(run.directory / model_step("trending")).item_trend
    write_popular_lists(directory, popularity, trend, known, items, unavailable, settings.lists)
    progress.done()
    progress.start("write what is known of users and items")
    bought_with = pl.scan_parquet(features / "bought_with.parquet", glob=False)
    write_bought_with_lists(directory, bought_with, items, settings.lists.similar_items)
    write_history(directory, known, exclude, settings.lists.history_items, progress)
    write_profiles(directory, features, items)
    vectors = item_vectors(known, settings.seed) if settings.serving.diversity > 0 else None
    item_features = pl.scan_parquet(features / "item_features.parquet", glob=False)
    write_catalogue_file(directory, known, popularity, items, item_features, vectors)
    progress.done()


def _published(run: Run, settings: Settings, winner: str, known: Interactions) -> Model:
    """The model whose lists users get."""
    if winner != BLEND:
        return _load(run, winner)
    config = blend_config(blend_choice(run), settings.evaluation)
    return Blend(config, {name: _load(run, name) for name in config.members}).assemble(known)


def _load(run: Run, name: str) -> Model:
    return model_type(name).load(run.directory / model_step(name))


def model_step(name: str) -> str:
    """The step that fits the model called `name` on all events."""
    return f"models/{name}"
