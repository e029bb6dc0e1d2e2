"""What the commands print: tables for a person, JSON for a program."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jobs.demo.live import LiveList
from jobs.experiments.backtest import Backtest
from jobs.ingest.ingest import TableCount
from jobs.ingest.stream import ArchiveResult
from jobs.lookup import Found
from jobs.pipeline.explanation import UserExplanation
from jobs.pipeline.step_names import VALIDATION
from jobs.pipeline.trending import TrendingRenewal
from jobs.status import ScheduleStatus, Status
from recsys.api_keys import SCOPES, ApiKey
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.report.contents import Example, Suspect
from recsys.store.flags import Flag
from recsys.store.publish.publish import PublishResult
from recsys.store.publish.versions import RollbackResult

console = Console(highlight=False)

BENCHMARK_METRICS = ("recall", "ndcg", "hit_rate", "coverage")
COSTS = (("fit_seconds", "fit s"), ("recommend_seconds", "rank s"), ("peak_memory_mb", "peak MB"))


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))


def show_ingest(counts: Sequence[TableCount]) -> None:
    """What became of the rows of each table, which rules were broken, and which columns have changed."""
    table = _table("Ingested", "file", "as", right=("rows", "new", "known", "set aside"))
    for count in counts:
        numbers = (count.rows, count.accepted, count.duplicates, count.quarantined)
        table.add_row(escape(count.file), escape(count.table), *(f"{number:,}" for number in numbers))
    console.print(table)
    for count in counts:
        for rule, rows in sorted(count.rules.items()):
            console.print(f"  {escape(count.table)}: {rows:,} rows broke {rule}")
        if count.passed_over:
            console.print(
                f"  {escape(count.table)}: {count.passed_over:,} rows lie below the watermark (see --full)"
            )
        for change in count.schema_changes:
            before, after = change.before or "not there", change.after or "gone"
            console.print(Text(f"  {count.table}: column {change.column} was {before}, is {after}"), soft_wrap=True)


def show_features(catalogue: pl.DataFrame) -> None:
    """The feature catalogue, a table of features at a time."""
    for (name,), features in catalogue.group_by("table", maintain_order=True):
        table = _table(str(name), "feature", "dtype", "unit", "meaning")
        for row in features.select("name", "dtype", "unit", "meaning").rows():
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)


def show_measurements(measurements: Sequence[ModelMeasurement], winner: str, metric: str, window: str) -> None:
    """The candidates of one window, best first."""
    cutoff = metric.partition("@")[2]
    names = ("recall", "ndcg", "hit_rate")
    table = _table(
        f"Models on the {window} window, at {cutoff}", "model", right=(*names, "coverage", f"{metric}, 95 %")
    )
    for model in sorted(measurements, key=lambda model: -model.metrics[metric]):
        low, high = model.intervals[metric]
        cells = [f"{model.metrics[f'{name}@{cutoff}']:.4f}" for name in names]
        chosen = f"[bold green]{model.name}[/] *" if model.name == winner else model.name
        table.add_row(chosen, *cells, f"{model.catalogue[f'coverage@{cutoff}']:.1%}", f"{low:.4f}–{high:.4f}")
    console.print(table)
    if window == VALIDATION:
        console.print(f"* {winner} is published: the best {metric} here, where weights are chosen.\n")


def show_published(published: PublishResult) -> None:
    """What is live now."""
    console.print(
        f"Published version [bold]{published.version}[/]: {published.keys:,} lists, "
        f"{published.bytes / 2**20:.1f} MB, in {published.seconds:.1f} s"
    )
    if published.cut_to is not None:
        console.print(f"Lists were cut to {published.cut_to} items to fit redis.max_memory")


def show_rolled_back(done: RollbackResult) -> None:
    """What is live again."""
    console.print(f"Version [bold]{done.version}[/] is live again; it was {done.previous}")


def show_renewed(renewed: TrendingRenewal) -> None:
    """How long the trending list is now."""
    console.print(
        f"The trending list of version [bold]{renewed.version}[/] has {renewed.items:,} items now, "
        f"in {renewed.seconds:.1f} s"
    )


def show_archived(archived: ArchiveResult) -> None:
    """What came from online into the lake."""
    console.print(
        f"Archived {archived.entries:,} entries in {archived.seconds:.1f} s: {archived.events:,} new events, "
        f"{archived.duplicates:,} known, {archived.impressions:,} items shown, {archived.items:,} items changed, "
        f"{archived.flags:,} flags, {archived.labels:,} labels, {archived.invalid:,} set aside",
        soft_wrap=True,
    )


def show_lookup(found: Found, as_json: bool = False) -> None:
    """One list with its titles."""
    if as_json:
        print_json(asdict(found))
        return
    title = f"{found.source} list for {found.asked} (version {found.version})"
    table = _table(title, "#", "item", "title", "category")
    for item in found.items:
        table.add_row(str(item.rank), *(escape(cell or "") for cell in (item.item_id, item.title, item.category)))
    console.print(table)


def show_status(status: Status) -> None:
    """Lake, runs, live lists."""
    lake = status.lake
    span = f", {lake.first:%Y-%m-%d} to {lake.last:%Y-%m-%d}" if lake.first and lake.last else ""
    console.print(f"Lake: {lake.events:,} events{span}; {lake.items:,} items, {lake.users:,} users")
    table = _table("Runs", "run", "status", "model", "seconds", "directory")
    for run in status.runs:
        state = f"{run.status}: {run.error}" if run.error else run.status
        cells = (run.run_id, state, run.winner or "", str(run.seconds), str(run.directory))
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    _show_schedule(status.schedule)
    if status.redis is None:
        console.print(f"Redis: {escape(status.redis_error or '')}")
        return
    console.print(f"Redis at {status.redis.address}: {status.redis.memory_bytes / 2**20:.1f} MB in use")
    stream = status.redis.stream
    waited = status.redis.oldest_entry_seconds
    since = "" if waited is None else f", the oldest for {timedelta(seconds=round(waited))}"
    console.print(f"Stream of events: {stream.entries:,} entries wait to be archived{since}")
    table = _table("Versions", "version", "published", "live")
    for version in status.redis.versions:
        half = "" if version.live else "not whole"
        published = f"{version.published_at:%Y-%m-%d %H:%M:%S}" if version.published_at else half
        table.add_row(version.name, published, "live" if version.live else "")
    console.print(table)


def _show_schedule(schedule: ScheduleStatus) -> None:
    due = "; ".join(f"{job} next at {moment:%Y-%m-%d %H:%M} UTC" for job, moment in schedule.due.items())
    if schedule.scheduler is None:
        console.print("Schedule: not running" + (f" ({due}, if it were)" if due else ""))
    else:
        console.print(f"Schedule: {schedule.scheduler}; {due}")
    if schedule.attempts:
        table = _table("Jobs", "job", "due (UTC)", "attempt", "outcome", "seconds")
        for each in schedule.attempts:
            state = f"{each.outcome}: {each.error}" if each.error else each.outcome
            seconds = f"{(each.ended - each.started).total_seconds():.1f}" if each.ended else ""
            due_at = f"{each.scheduled:%Y-%m-%d %H:%M:%S}"
            table.add_row(escape(each.job), due_at, str(each.attempt), escape(state), seconds)
        console.print(table)


def show_benchmark(figures: dict[str, dict[str, Any]], k: int) -> None:
    """The figures of every model side by side."""
    table = _table(f"Benchmark at {k}", "model", right=(*BENCHMARK_METRICS, *(label for _, label in COSTS)))
    for name, measured in figures.items():
        chosen = f" ({measured['chosen']})" if "chosen" in measured else ""
        costs = [f"{measured[cost]:,.1f}" for cost, _ in COSTS]
        table.add_row(
            f"{name}{chosen}", *(f"{measured[f'{metric}@{k}']:.4f}" for metric in BENCHMARK_METRICS), *costs
        )
    console.print(table)
    for name, measured in figures.items():
        console.print(
            f"  {name}: {measured['users']:,} users measured, {measured['cold_users']:,} without history left out"
        )
        for member, weights in measured.get("weights", {}).items():
            console.print(
                f"    {member}: {', '.join(f'{weight:.2f} {users}' for users, weight in weights.items())}"
            )


def shown_key(key: ApiKey) -> dict[str, Any]:
    """A key without what proves it."""
    return {
        "name": key.name,
        "scopes": [scope for scope in SCOPES if scope in key.scopes],
        "requests_per_minute": key.requests_per_minute,
        "created_at": key.created_at,
    }


def show_keys(keys: Sequence[ApiKey]) -> None:
    """Who may ask for what."""
    table = _table("API keys", "name", "scopes", "created (UTC)", right=("per minute",))
    for key in keys:
        shown = shown_key(key)
        limit = f"{key.requests_per_minute:,}" if key.requests_per_minute else "any"
        table.add_row(key.name, ", ".join(shown["scopes"]), f"{key.created_at:%Y-%m-%d %H:%M:%S}", limit)
    console.print(table)


def show_flags(flags: Sequence[Flag]) -> None:
    """Who is held back, why and how long."""
    table = _table("Held back", "user", "by", "since (UTC)", "until (UTC)", "why", right=("score",))
    for flag in flags:
        times = (f"{flag.since:%Y-%m-%d %H:%M:%S}", f"{flag.until:%Y-%m-%d %H:%M:%S}")
        table.add_row(
            escape(flag.user_id), flag.source, *times, escape("; ".join(flag.reasons)), f"{flag.score:.1f}"
        )
    console.print(table)


def show_explanation(asked: str, found: UserExplanation) -> None:
    """What is said against a user, and for one, who is called as was asked."""
    user = escape(asked)
    if found.flag is None:
        console.print(f"{user} is not held back.")
    else:
        show_flags([found.flag])
    if found.released:
        console.print(f"An analyst has released {user}: no more automatic flags.")
    if found.run is None:
        console.print("No nightly run has looked for users who are no shoppers yet.")
    elif found.nightly is None:
        console.print(f"The nightly run {found.run} has nothing to say of {user}.")
    else:
        _show_suspect(found.run, found.nightly)


def _show_suspect(run: str, suspect: Suspect) -> None:
    table = _table(f"Nightly run {run}", "user", "found by", "screened out", "why", right=("events", "score"))
    why = escape("; ".join(suspect.reasons))
    screened = "yes" if suspect.screened else "no"
    table.add_row(
        escape(suspect.user_id), suspect.origin, screened, why, f"{suspect.events:,}", f"{suspect.score:.1f}"
    )
    console.print(table)


def show_backtest(found: Backtest) -> None:
    """Who would have been flagged on a day."""
    table = _table(f"Flags of {found.day}", "time (UTC)", "user", "why", "", right=("score",))
    for flag in found.flags:
        state = "held back by the breaker" if flag.held_back else ""
        why = escape("; ".join(flag.reasons))
        table.add_row(f"{flag.at:%H:%M:%S}", escape(flag.user_id), why, state, f"{flag.score:.1f}")
    console.print(table)
    console.print(f"{found.share:.2%} of {found.users:,} users, by {found.events:,} events")


def show_path(what: str, path: Path) -> None:
    """Where something was written."""
    console.print(Text(f"{what}: {path}"), soft_wrap=True)


def show_shopper(example: Example, found: Found) -> None:
    """What a shopper bought last, and the list that Redis has for the shopper."""
    table = _table(f"Shopper {example.user_id}: {found.source} list", "#", "bought last", "recommended now")
    for rank, (recent, item) in enumerate(zip_longest(example.recent, found.items), 1):
        bought = f"{recent.title or recent.item_id}" if recent else ""
        recommended = f"{item.title or ''} ({item.item_id})" if item else ""
        table.add_row(str(rank), escape(bought), escape(recommended))
    console.print(table)


def show_live(shown: LiveList) -> None:
    """A shopper's list over HTTP before and after a purchase, each item with its reason."""
    for title, answer in (
        (f"Over HTTP, shopper {shown.user_id} is shown beside the cart", shown.before),
        (f"… and after buying {shown.bought}, at once", shown.after),
    ):
        table = _table(title, "#", "item", "why")
        for rank, (item, reason) in enumerate(answer, 1):
            table.add_row(str(rank), escape(item), escape(reason))
        console.print(table)


def show_next_steps(directory: Path, address: str, user_id: str) -> None:
    """What to type next."""
    host, _, port = address.rpartition(":")
    program = sys.argv[0]
    console.print("The server keeps running. Try:")
    for line in (
        f"  RECSYS_DIRECTORY={directory} {program} recommend {user_id}",
        f"  RECSYS_DIRECTORY={directory} {program} serve",
        f"  RECSYS_DIRECTORY={directory} {program} status",
        f"  redis-cli -h {host} -p {port} GET recsys:live",
        f"  RECSYS_DIRECTORY={directory} {program} stop",
    ):
        console.print(Text(line), soft_wrap=True)


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for column in right:
        table.add_column(column, justify="right")
    return table
