"""The plots of the page: where each bar stands, in units of the SVG's view box. Pure.

We draw the few bars ourselves: the chart libraries that need no browser and no network (pygal is the one that is alive) put
a script and one fixed set of colours into each chart, while this page must do without scripts and follow the reader's
light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta

import msgspec

from batchline.report.amounts import decimals, dollars, percent
from batchline.report.sums import Report, Sums
from batchline.requests import NANO

WIDTH, HEIGHT = 560, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 6, 12, 28
_WIDE, _LINE, _NAMES, _VALUES = 1160, 28, 250, 110
MOST_SLOTS = 100
"""Most days that are drawn one by one; beyond, bars are weeks, then months."""
MOST_MODELS = 12
"""Most models that are drawn by themselves."""
_LABELS = 7
_THINNEST = 1.0
"""What is not zero is seen."""
Steps = tuple[str, Callable[[date], date]]


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A bar, its colour (``list``, ``paid``, ``saved`` or ``errors``) and what it says."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    text: str


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A text beside an axis."""

    x: float
    y: float
    text: str


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """A plot: what it shows, its drawing, and the same figures as a table (``head``, ``table``)."""

    name: str
    title: str
    summary: str
    bars: tuple[Bar, ...]
    across: tuple[Mark, ...]
    upright: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...]
    head: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    width: float = WIDTH
    height: float = HEIGHT
    lying: bool = False
    left: float = _LEFT
    right: float = WIDTH - _RIGHT


def plots(report: Report) -> tuple[Plot, ...]:
    """Return the plots of a report; none when nothing was settled."""
    if not report.days:
        return ()
    step, slots = slots_of(report)
    return _money(step, slots), _errors(step, slots), _saved(report.models)


# --- time: days, weeks or months ---


def slots_of(report: Report) -> tuple[str, dict[date, Sums]]:
    """Return what a bar stands for (``day``, ``week``, ``month``) and the sums of each, those without a ledger included."""
    earliest, last = min(report.days), report.until
    first = report.since or earliest
    if (last - first).days >= MOST_SLOTS:
        first = earliest  # no room is wasted on a year before the first answer
    step, begin = _step((last - first).days + 1)
    slots: dict[date, Sums] = {}
    for at in range((last - first).days + 1):
        slots.setdefault(begin(first + timedelta(days=at)), Sums())
    for day, sums in report.days.items():
        slots[begin(day)].add_sums(sums)
    return step, slots


def _step(days: int) -> Steps:
    if days <= MOST_SLOTS:
        return "day", lambda day: day
    if days <= MOST_SLOTS * 7:
        return "week", lambda day: day - timedelta(days=day.weekday())
    return "month", lambda day: day.replace(day=1)


def _slot_name(step: str, day: date) -> str:
    return f"{day:%Y-%m}" if step == "month" else f"week of {day}" if step == "week" else day.isoformat()


def _time_marks(step: str, slots: Mapping[date, Sums]) -> Iterator[Mark]:
    every = math.ceil(len(slots) / _LABELS)
    pitch = _pitch(len(slots))
    short = "%Y-%m" if step == "month" else "%Y-%m-%d" if len({day.year for day in slots}) > 1 else "%m-%d"
    for at, day in enumerate(slots):
        if at % every == 0:
            yield Mark(x=_round(_LEFT + (at + 0.5) * pitch), y=HEIGHT - _BOTTOM + 21, text=day.strftime(short))


def _pitch(slots: int) -> float:
    return (WIDTH - _LEFT - _RIGHT) / slots


# --- the plots ---


def _money(step: str, slots: Mapping[date, Sums]) -> Plot:
    top, marks = _scale(max(max(sums.list_nano, sums.paid_nano) for sums in slots.values()) / NANO, _dollar_mark)
    places = decimals(max(max(sums.list_nano, sums.paid_nano) for sums in slots.values()))
    bars: list[Bar] = []
    rows = []
    for at, (day, sums) in enumerate(slots.items()):
        name = _slot_name(step, day)
        amounts = (("list", "list price", sums.list_nano), ("paid", "paid", sums.paid_nano))
        for place, (colour, word, nano) in enumerate(amounts):
            text = f"{name}: {word} {dollars(nano, places)}"
            bars += _upright(nano / NANO / top, at, place, 2, len(slots), colour, text)
        rows.append((name, *(dollars(nano, places) for _, _, nano in amounts)))
    return Plot(
        name="money",
        title=f"List price and what was paid, by {step}",
        summary=f"Two bars for each {step}: what the answers cost at the list price, and what was paid for them.",
        bars=tuple(bars),
        across=tuple(_time_marks(step, slots)),
        upright=tuple(marks),
        legend=(("list", "list price"), ("paid", "paid")),
        head=(step, "list price", "paid"),
        table=tuple(rows),
    )


def _errors(step: str, slots: Mapping[date, Sums]) -> Plot:
    top, marks = _scale(max(sums.error_ratio or 0 for sums in slots.values()), _percent_mark, most=1.0)
    bars: list[Bar] = []
    rows = []
    for at, (day, sums) in enumerate(slots.items()):
        name = _slot_name(step, day)
        failed = f"{percent(sums.error_ratio)}, {sums.failed:,} of {sums.succeeded + sums.failed:,}"
        bars += _upright((sums.error_ratio or 0) / top, at, 0, 1, len(slots), "errors", f"{name}: {failed}")
        rows.append((name, percent(sums.error_ratio), f"{sums.failed:,}", f"{sums.succeeded + sums.failed:,}"))
    return Plot(
        name="errors",
        title=f"Error ratio by {step}",
        summary=f"A bar for each {step} on which requests failed: their share of all that were not cancelled.",
        bars=tuple(bars),
        across=tuple(_time_marks(step, slots)),
        upright=tuple(marks),
        legend=(("errors", "failed"),),
        head=(step, "error ratio", "failed", "answered or failed"),
        table=tuple(rows),
    )


def _saved(models: Mapping[str, Sums]) -> Plot:
    ranked = sorted(models.items(), key=lambda each: (-each[1].saved_nano, each[0]))
    most = MOST_MODELS if len(ranked) > MOST_MODELS + 1 else len(ranked)
    shown = [(name, sums.saved_nano) for name, sums in ranked[:most]]
    if ranked[most:]:
        shown.append((f"{len(ranked) - most} others", sum(sums.saved_nano for _, sums in ranked[most:])))
    largest = max(nano for _, nano in shown)
    places = decimals(largest)
    room = _WIDE - _NAMES - _VALUES
    bars, names, values = [], [], []
    for at, (name, nano) in enumerate(shown):
        y, text = at * _LINE + 4.0, dollars(nano, places)
        width = max(_THINNEST, nano / largest * room) if nano > 0 else 0.0
        if width:
            bars.append(
                Bar(x=_NAMES, y=y, width=_round(width), height=_LINE - 8, colour="saved", text=f"{name}: {text}")
            )
        names.append(Mark(x=_NAMES - 8, y=y + 14, text=_cut(name)))
        values.append(Mark(x=_round(_NAMES + width + 6), y=y + 14, text=text))
    return Plot(
        name="saved",
        title="Saved by model",
        summary="A bar for each model: what its answers cost less than at the list price. Models that saved least share one.",
        bars=tuple(bars),
        across=tuple(values),
        upright=tuple(names),
        legend=(("saved", "saved"),),
        head=("model", "saved"),
        table=tuple((name, dollars(nano, places)) for name, nano in shown),
        width=_WIDE,
        height=len(shown) * _LINE + 4,
        lying=True,
    )


def _upright(share: float, at: int, place: int, places: int, slots: int, colour: str, text: str) -> list[Bar]:
    """Return a bar of the ``places`` that stand side by side in a slot; none for nothing."""
    if share <= 0:
        return []
    pitch = _pitch(slots)
    width = min(pitch * 0.8 / places, 40.0)
    height = max(_THINNEST, share * (HEIGHT - _TOP - _BOTTOM))
    middle = _LEFT + (at + 0.5) * pitch
    return [
        Bar(
            x=_round(middle + (place - places / 2) * width),
            y=_round(HEIGHT - _BOTTOM - height),
            width=_round(width * 0.94),
            height=_round(height),
            colour=colour,
            text=text,
        )
    ]


# --- the axis ---


def _scale(largest: float, mark: Callable[[float, float], str], *, most: float = math.inf) -> tuple[float, list[Mark]]:
    """Return what the whole height stands for, and the marks of round steps up to it."""
    step = _round_step((largest or 1.0) / 4)
    count = max(1, math.ceil(largest / step - 1e-9)) if largest else 1
    top = min(most, count * step)
    height = HEIGHT - _TOP - _BOTTOM
    values = [at * step for at in range(count + 1) if at * step <= top * (1 + 1e-9)]
    return top, [
        Mark(x=_LEFT - 8, y=_round(HEIGHT - _BOTTOM - value / top * height), text=mark(value, step)) for value in values
    ]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9)))


def _dollar_mark(value: float, step: float) -> str:
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"${value:,.{max(2, places) if places else 0}f}"


def _percent_mark(value: float, step: float) -> str:
    places = max(0, -math.floor(math.log10(step * 100) + 1e-9))
    return f"{value * 100:.{places}f}%"


def _cut(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:20]}…{name[-11:]}"


def _round(number: float) -> float:
    return round(number, 2)
