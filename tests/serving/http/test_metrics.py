"""Counts of all workers, as Prometheus reads them."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from serving.http.metrics import BUCKETS, Metrics
from serving.intake.load_shedding import max_share


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counts_of_all_workers_are_added_up(tmp_path: Path) -> None:
    first = Metrics(tmp_path, lambda: {"stream_entries": 3.0})
    first.count("requests", "/live", "200")
    first.observe("stage_seconds", 0.0003, "load")
    (tmp_path / "1.json").write_bytes(_left_by_another())
    result = samples(first.text())
    assert result["recsys_requests_total", (("route", "/live"), ("status", "200"))] == 1 + 4
    assert result["recsys_stage_seconds_count", (("stage", "load"),)] == 1 + 2
    assert result["recsys_stage_seconds_bucket", (("le", "0.0005"), ("stage", "load"))] == 1 + 1
    assert result["recsys_stage_seconds_bucket", (("le", "+Inf"), ("stage", "load"))] == 1 + 2
    assert result["recsys_stage_seconds_sum", (("stage", "load"),)] == 0.0003 + 0.5
    assert result["recsys_stream_entries", ()] == 3.0


def _left_by_another() -> bytes:
    """What a worker that has ended left: 4 requests, durations of 0.4 ms and about half a second."""
    import msgspec

    buckets = [0] * (len(BUCKETS) + 1)
    buckets[3], buckets[12] = 1, 1
    return msgspec.json.encode(
        {
            "counts": {"requests": [[["/live", "200"], 4]]},
            "buckets": {"stage_seconds": [[["load"], buckets]]},
            "sums": {"stage_seconds": [[["load"], 0.5]]},
        }
    )


def test_a_bucket_holds_what_is_not_above_its_end(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, dict)
    for seconds in (0.0005, 0.00051, 9.0):
        metrics.observe("request_seconds", seconds, "/live")
    result = samples(metrics.text())
    ends = {dict(labels).get("le"): value for (name, labels), value in result.items() if name.endswith("_bucket")}
    assert (ends["0.0005"], ends["0.001"], ends["5.0"], ends["+Inf"]) == (1, 2, 2, 3)


def test_counters_do_not_fall_when_they_are_read(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, dict)
    metrics.count_each("items", ["personal", "personal", "session"])
    assert samples(metrics.text()) == samples(metrics.text())
    result = samples(metrics.text())
    assert result["recsys_items_total", (("source", "personal"),)] == 2


def test_what_says_most_is_taken_longest() -> None:
    shares = [
        max_share(event, weight)
        for event, weight in (("impression", 0.0), ("view", 1.0), ("cart", 3.0), ("purchase", 5.0))
    ]
    assert shares == sorted(shares)
    assert len(set(shares)) == 4
    assert shares[-1] < 1
    assert max_share("refund", -5.0) == shares[-1]
