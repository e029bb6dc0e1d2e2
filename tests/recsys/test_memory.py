from pathlib import Path

import pytest

from recsys.errors import ModelError
from recsys.memory import available_bytes, require_bytes


def written(root: Path, files: dict[str, str]) -> tuple[Path, Path]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root / "proc", root / "groups"


MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n"}


def test_without_a_limit_it_is_what_the_machine_has_left(tmp_path: Path):
    assert available_bytes(*written(tmp_path, MACHINE)) == 4000 * 1024


def test_a_group_of_the_second_version_limits_it_and_its_cache_can_be_had_back(tmp_path: Path):
    group = {
        "proc/self/cgroup": "0::/shop/night\n",
        "groups/shop/night/memory.max": "max\n",
        "groups/shop/night/memory.current": "700\n",
        "groups/shop/memory.max": "1000\n",
        "groups/shop/memory.current": "800\n",
        "groups/shop/memory.stat": "anon 500\ninactive_file 30\n",
    }
    assert available_bytes(*written(tmp_path, MACHINE | group)) == 230


def test_a_group_of_the_first_version_limits_it(tmp_path: Path):
    group = {
        "proc/self/cgroup": "9:name=systemd:/\n4:memory,hugetlb:/shop\n",
        "groups/memory/shop/memory.limit_in_bytes": "5000\n",
        "groups/memory/shop/memory.usage_in_bytes": "6000\n",
        "groups/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "groups/memory/memory.usage_in_bytes": "1\n",
    }
    assert available_bytes(*written(tmp_path, MACHINE | group)) == 0


def test_this_machine_has_some():
    assert 2**20 < available_bytes() < 2**50


def test_what_does_not_fit_is_one_line_with_both_numbers():
    require_bytes("ease", 2**21, available=2**21)
    with pytest.raises(ModelError, match=r"^ease needs 3,000 MB of memory; 2 MB are available$"):
        require_bytes("ease", 3000 * 2**20, available=2**21)
