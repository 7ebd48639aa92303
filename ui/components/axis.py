"""Time to share of the timeline's width, where stretches in which nothing works are folded to narrow bands. Pure.

Work keeps its proportions among itself: a folded gap says how long it was and takes the same width however long.
"""

import bisect
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from .format import duration

Interval: TypeAlias = tuple[float, float]  # begin and end, ms

LEAST_GAP_MS: Final = 20.0
MOST_FOLDS: Final = 6
FOLD_WIDTH: Final = 7.0  # percent
OPEN_ROOM: Final = 7.0  # percent kept free at the right for what has no end yet
TICK_STEPS_MS: Final = tuple(
    step * unit for unit in (0.01, 0.1, 1, 10, 100, 1_000, 10_000) for step in (1, 2, 5)
) + tuple(step * 60_000 for step in (1, 2, 5, 10, 30, 60, 120, 360, 1440, 10_080))
TICK_WIDTH: Final = 9.0  # least percent between two ticks
CLOCK_WIDTH: Final = 11.0
LABEL_WIDTH: Final = 15.0
SHORT_LABEL_WIDTH: Final = 9.5


@dataclass(frozen=True, slots=True)
class Fold:
    """A gap that is drawn narrow: when it was, and where its band lies, in percent."""

    begin_ms: float
    end_ms: float
    x0: float
    x1: float

    @property
    def middle(self) -> float:
        """Where its label stands."""
        return (self.x0 + self.x1) / 2


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark with the time since its stretch began; where a stretch begins, `clock_ms` says when that was."""

    x: float
    label: str
    clock_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """`times` and `shares` are the corners of the piecewise linear way from ms to percent."""

    times: tuple[float, ...]
    shares: tuple[float, ...]
    folds: tuple[Fold, ...]

    def at(self, time_ms: float) -> float:
        """The share in percent; what lies outside is drawn at the border."""
        if time_ms <= self.times[0]:
            return self.shares[0]
        if time_ms >= self.times[-1]:
            return self.shares[-1]
        i = bisect.bisect_right(self.times, time_ms)
        (t0, t1), (x0, x1) = self.times[i - 1 : i + 1], self.shares[i - 1 : i + 1]
        return x0 + (x1 - x0) * (time_ms - t0) / (t1 - t0)

    def crosses_fold(self, begin_ms: float, end_ms: float) -> bool:
        """Whether a bar goes across a whole folded gap, so that its drawn length says nothing."""
        return any(begin_ms <= fold.begin_ms and end_ms >= fold.end_ms for fold in self.folds)

    def fold_labels(self) -> list[str]:
        """`30 s folded` for each fold; the length alone where another label is near, none where it would lie on it."""
        labels: list[str] = []
        last = -SHORT_LABEL_WIDTH
        for fold in self.folds:
            if fold.middle - last < SHORT_LABEL_WIDTH:
                labels.append("")
                continue
            last = fold.middle
            near = min((abs(fold.middle - other.middle) for other in self.folds if other is not fold), default=100.0)
            length = duration(fold.end_ms - fold.begin_ms)
            labels.append(length if min(near, fold.middle * 2) < LABEL_WIDTH else f"{length} folded")
        return labels

    def clocks(self) -> list[Tick]:
        """Where time goes on after a fold; one that would stand on its neighbour is left out."""
        shown: list[Tick] = []
        for tick in self.ticks():
            if tick.clock_ms is not None and (not shown or tick.x - shown[-1].x >= CLOCK_WIDTH):
                shown.append(tick)
        return shown

    def ticks(self) -> list[Tick]:
        """Marks at even steps within every stretch between two folds, each counted from the stretch's beginning."""
        marks = []
        stretches = [(t0, t1, x0, x1) for (t0, t1), (x0, x1) in self._pieces() if not self._is_fold(t0)]
        for n, (t0, t1, x0, x1) in enumerate(stretches):
            marks.append(Tick(x0, "0" if n == 0 and self._is_free(x0) else "", clock_ms=t0))
            if x1 - x0 < TICK_WIDTH:
                continue
            per_ms = (x1 - x0) / (t1 - t0)
            step = next((s for s in TICK_STEPS_MS if s * per_ms >= TICK_WIDTH), None)
            if step is None:
                continue
            for k in range(1, int((t1 - t0) / step) + 1):
                x = x0 + k * step * per_ms
                if x < x1 - TICK_WIDTH / 3 or x1 > 99:
                    marks.append(Tick(x, ("" if n == 0 else "+") + duration(k * step)))
        return [mark for mark in marks if mark.clock_ms is not None or (mark.x < 97 and self._is_free(mark.x))]

    def _is_free(self, x: float) -> bool:
        return all(abs(x - fold.middle) > LABEL_WIDTH * 0.75 for fold in self.folds)

    def _pieces(self) -> Iterable[tuple[Interval, Interval]]:
        return zip(itertools.pairwise(self.times), itertools.pairwise(self.shares), strict=True)

    def _is_fold(self, begin_ms: float) -> bool:
        return any(fold.begin_ms == begin_ms for fold in self.folds)


def make_axis(
    work: Iterable[Interval], begin_ms: float, end_ms: float, *, folded: bool = True, has_open: bool = False
) -> Axis:
    """The axis from `begin_ms` to `end_ms`; gaps between the intervals of `work` are folded when they are long.

    Long is: longer than all the work together, and than `LEAST_GAP_MS`. Of many gaps the longest are folded.
    `has_open` keeps room at the right for bars without an end.
    """
    end_ms = max(end_ms, begin_ms + 0.001)
    busy = _union(work, begin_ms, end_ms)
    busy_ms = sum(end - begin for begin, end in busy)
    edges = [begin_ms, *itertools.chain.from_iterable(busy), end_ms]
    gaps = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > max(busy_ms, LEAST_GAP_MS)]
    longest = sorted(sorted(gaps, key=lambda gap: gap[0] - gap[1])[:MOST_FOLDS]) if folded and busy_ms > 0 else []
    room = 100.0 - (OPEN_ROOM if has_open else 0.0)
    shown_ms = (end_ms - begin_ms) - sum(b - a for a, b in longest)
    per_ms = (room - FOLD_WIDTH * len(longest)) / shown_ms if shown_ms > 0 else 0.0
    times, shares, folds = [begin_ms], [0.0], list[Fold]()

    def go_to(time_ms: float, x: float) -> None:
        if time_ms > times[-1]:
            times.append(time_ms)
            shares.append(x)

    for a, b in longest:
        go_to(a, shares[-1] + (a - times[-1]) * per_ms)
        folds.append(Fold(a, b, shares[-1], shares[-1] + FOLD_WIDTH))
        go_to(b, shares[-1] + FOLD_WIDTH)
    go_to(end_ms, room)
    return Axis(tuple(times), tuple(shares), tuple(folds))


def _union(intervals: Iterable[Interval], begin_ms: float, end_ms: float) -> list[Interval]:
    """The intervals within the range, those that touch joined, in order."""
    joined: list[Interval] = []
    for a, b in sorted((max(a, begin_ms), min(b, end_ms)) for a, b in intervals):
        if b < a:
            continue
        if joined and a <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], b))
        else:
            joined.append((a, b))
    return joined
