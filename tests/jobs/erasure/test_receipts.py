"""Receipts of erasures, and the night that closes them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.testing import capture_logs

from jobs.erasure.receipts import NEXT_NIGHT, Receipt, close_receipts, read_receipts, write_receipt
from jobs.lake.lake import Lake

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_receipt_that_was_changed_keeps_no_night_from_closing_the_others(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with lake.locked():
        files = [
            write_receipt(lake, Receipt(name, NOW, NOW, (), 0, False, {}, {}, (NEXT_NIGHT,))) for name in "abc"
        ]
    files[0].write_text(files[0].read_text().replace('"guests": 0', '"guests": 1'))
    files[1].write_text("{")
    with capture_logs() as logs:
        assert close_receipts(lake, "20260302T000000Z", NOW + timedelta(hours=1), NOW + timedelta(hours=2)) == 1
        assert [receipt.closed_by for receipt in read_receipts(lake)] == ["20260302T000000Z"]
    assert {str(each["reason"]).partition(":")[0] for each in logs} == {str(file) for file in files[:2]}
