"""The evaluation step: every candidate on the validation and on the test window; the best is chosen."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import polars as pl
from pydantic import TypeAdapter

from features.interactions import interactions, sequences
from recsys.data.interactions import Interactions, build_interactions
from recsys.data.splits import relevant_pairs, require_events, windows
from recsys.errors import NotEnoughDataError
from recsys.evaluation.comparison import ModelMeasurement, choose, measure
from recsys.evaluation.truth import Truth, build_truth
from recsys.files import read_json, write_json
from recsys.models.base import Model
from recsys.models.popularity import Popularity
from recsys.models.registry import build_model
from recsys.models.top_k import Exclude
from recsys.settings import Settings

WINDOWS = ("validation", "test")
