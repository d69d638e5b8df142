"""Energy and costs in a run's table, and what belongs below it."""

from collections.abc import Callable, Iterator

from torchlap.reports.kit.table import Column, Field
from torchlap.reports.kit.text import clean, sentence
from torchlap.reports.kit.units import significant, with_interval
from torchlap.reports.run.rows import Results, Row
from torchlap.runs.energy import cost_per_million
from torchlap.runs.figures import idle
from torchlap.schema.energy import IdlePower
from torchlap.stats import Interval

UNKNOWN = "unknown"


def columns(results: Results) -> Iterator[tuple[Column, Callable[[Row], Field | str]]]:
    """Joules an item and watts if any device has a meter, and the cost of a million items if there is a price."""
    if any(known.meter for known in idle(results.run).values()):
        yield Column(f"J/{_item(results)}"), lambda row: _figure(row, joules(row))
        yield Column("W"), lambda row: _figure(row, watts(row))
    if results.prices:
        yield Column(f"cost/million {_items(results)}"), lambda row: _figure(row, cost(row, results))


def joules(row: Row) -> Interval | None:
    """Joules an item."""
    return row.result.energy.joules_per_item if row.result.energy else None


def watts(row: Row) -> Interval | None:
    """The mean power during the cell's turns."""
    return row.result.energy.watts if row.result.energy else None


def cost(row: Row, results: Results) -> Interval | None:
    """What a million items cost at the given prices."""
    return cost_per_million(row.result.throughput, row.result.energy, results.prices)


def _figure(row: Row, interval: Interval | None) -> Field:
    if interval is None:
        return Field(UNKNOWN if row.result.throughput else "", sort_by="")
    return Field(with_interval(interval), sort_by=repr(interval.value), is_void=bool(row.void))


def _items(results: Results) -> str:
    return results.rate.removesuffix("/s")


def _item(results: Results) -> str:
    return _items(results).removesuffix("s")


def legend(results: Results) -> Iterator[str]:
    """Which meter it was, the idle power, why a figure is missing, and what the costs contain."""
    if results.run.header.plan.energy:
        yield from map(clean, map(_about_meter, idle(results.run).values()))
        yield from dict.fromkeys(clean(sentence(why)) for why in map(_too_short, results.rows) if why)
    if results.prices:
        yield f"Cost of a million {_items(results)}: {_prices(results)}."


def _about_meter(known: IdlePower) -> str:
    """The meter of a device, or why it has none."""
    power = idle_watts(known)
    if known.reason:
        return f"{sentence(known.reason.rstrip('. '))[:-1]} ({known.device})."
    when = "not measured" if power is None else f"{significant(power)} W with torch loaded and nothing running"
    return f"Energy of {known.device}: {known.meter}; idle: {when}."


def idle_watts(known: IdlePower) -> float | None:
    """The power of a device with nothing to do; None if it could not be read."""
    return known.joules / known.seconds if known.meter and known.seconds else None


def _too_short(row: Row) -> str:
    energy = row.result.energy
    return f"{row.result.cell}: {energy.reason}" if energy and energy.reason else ""


def _prices(results: Results) -> str:
    prices, parts = results.prices, []
    if prices.per_kwh is not None:
        parts.append(f"{significant(prices.per_kwh)} per kWh of the device alone")
    if prices.per_hour is not None:
        parts.append(f"{significant(prices.per_hour)} per hour of the machine")
    return " and ".join(parts)
