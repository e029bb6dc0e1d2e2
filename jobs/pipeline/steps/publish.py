"""The publish step: load a run's lists into Redis and make them live, and flag the users it screened out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from jobs.audit import audit
from jobs.lake.erasure_requests import read_requests
from jobs.lake.lake import Lake, open_lake
from jobs.lake.opt_outs import read_opt_outs
from jobs.pipeline.context import RunContext
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import LISTS, PUBLISH
from jobs.pipeline.steps.screen import build_nightly_flags
from jobs.progress import Progress
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Settings
from recsys.store.catalogue import CATALOGUE_FILE
from recsys.store.client.connect import Client, connect
from recsys.store.flags import replace_nightly_flags
from recsys.store.item_changes import forget_old_changes, remove_available
from recsys.store.keys import Keys
from recsys.store.opt_outs import withhold_lists
from recsys.store.pseudonym_key import check_store
from recsys.store.publish.list_files import count_lists
from recsys.store.publish.publish import PublishResult
from recsys.store.publish.publish import publish as publish_version

log = structlog.get_logger(__name__)


def publish(context: RunContext) -> RunContext:
    """Publish the run's lists."""
    published = publish_run(context.run, context.settings, context.progress)
    context.run.record_step(PUBLISH, published.seconds)
    return replace(context, published=published)


def publish_run(run: Run, settings: Settings, progress: Progress) -> PublishResult:
    """Load the lists of a run into Redis, make them live, and replace what was set online and is known by now.

    Users who have opted out, or are to be erased, since the run was computed get no list.
    """
    lists = run.directory / LISTS
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    pseudonyms = Pseudonyms.from_settings(settings)
    run.check_pseudonyms(pseudonyms)
    check_store(client, keys, pseudonyms)
    audit(settings, "publish", subject=run.id)
    lake = open_lake(settings)
    withheld = withhold_from_redis(client, keys, lake)
    with progress.task("publish lists", count_lists(lists)) as task:
        loaded = 0

        def show(lists_loaded: int) -> None:
            nonlocal loaded
            task.advance(lists_loaded - loaded)
            loaded = lists_loaded

        published = publish_version(
            *(client, keys, run.id, lists, settings.redis.keep_versions, show, settings.redis.max_memory),
            withheld=withheld,
        )
        withhold_from_redis(client, keys, lake)  # who has asked for it during the load
        if (catalogue := lists / CATALOGUE_FILE).is_file():
            remove_available(client, keys, catalogue, run.as_of)
            before = run.as_of - timedelta(days=settings.serving.item_change_days)
            forget_old_changes(client, keys, catalogue, before)
        now = datetime.now(UTC)
        replace_nightly_flags(client, keys, build_nightly_flags(run, settings, now), now)
    if published.cut_to is not None:
        log.warning("lists cut to fit redis.max_memory", run=run.id, longest=published.cut_to)
    return published


def withhold_from_redis(client: Client, keys: Keys, lake: Lake) -> frozenset[str]:
    """Remove the lists of users who have opted out, or whose erasure is queued, from Redis; return the users."""
    queued = [user for request in read_requests(lake.directory) for user in request.users + (request.guests or ())]
    return withhold_lists(client, keys, dict(read_opt_outs(lake.directory).iter_rows()), queued)
