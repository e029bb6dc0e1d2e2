"""A few seconds of the chaos run: real processes, of which one after the other is killed or paused."""

import asyncio
from pathlib import Path

from tests.benchmarks.chaos.run import find_losses, run_chaos, summarize

SEED = 1
SECONDS = 1.0
FAULTS = ("Redis is killed", "an archive is killed")


def test_nothing_acknowledged_is_lost_and_every_request_is_answered(tmp_path: Path) -> None:
    result = asyncio.run(run_chaos(tmp_path / "shop", SEED, SECONDS, FAULTS, workers=1))
    assert find_losses(result) == [], f"seed {SEED}: {summarize(result)}"
    assert len(result.ledger.acknowledged) > 20
    assert result.ledger.answers > 20
    assert result.faults
