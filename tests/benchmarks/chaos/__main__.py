"""Run the chaos benchmark: `python -m tests.benchmarks.chaos SECONDS SEED`."""

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.benchmarks.chaos.run import find_losses, print_result, run_chaos

SECONDS: Final = 180.0


def main() -> None:
    """Run for the seconds and with the seed of the command line, and print the result."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}, {seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="recsys-chaos-") as scratch:
        result = asyncio.run(run_chaos(Path(scratch) / "shop", seed, seconds))
    print_result(result)
    losses = find_losses(result)
    if losses:
        sys.exit("\n".join([f"seed {seed}:", *losses[:20]]))


if __name__ == "__main__":
    main()
