"""Formatting of numbers and names: no more digits than the noise supports, always with a unit.

All sentences and axes of the report use these functions, so that a value is printed in the same way everywhere.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from model.metrics import LARGE
from studies.record.reader import SweepRecord

# With this many validation examples, a hundredth of a percentage point is at least half an example.
MANY_EXAMPLES = 5_000
OUTCOMES = ("complete", "pruned", "diverged", "out of memory", "timeout", "failed", "running", "paused", "interrupted")


@dataclass(frozen=True)
class MetricFormat:
    """How values of a metric are printed in the report of one study: with as many digits as its data support.

    Attributes:
        name: in words, such as `validation accuracy`.
        maximize: whether higher is better.
        scale: factor from the recorded to the printed value: 100 for a fraction printed as percent.
        unit: suffix of a value, such as a no-break space and a percent sign.
        points: suffix of a difference.
        decimals: number of decimals that the number of validation examples supports.
    """

    name: str
    maximize: bool
    scale: float
    unit: str
    points: str
    decimals: int

    def text(self, value: float | None) -> str:
        """A value as printed, or a dash; a loss too small or too large for decimals as 4.0e-05 or 1.0e+23."""
        if value is None or not math.isfinite(value):
            return "–"
        is_extreme = self.scale == 1 and (0 < value < 10.0 ** (1 - self.decimals) or value >= LARGE)
        return f"{value:.1e}" if is_extreme else f"{self._number(value)}{self.unit}"

    def gain(self, difference: float) -> str:
        """The size of a difference, without its sign; one too small to be printed is `less than` the last digit."""
        number = self._size(difference)
        if float(number) == 0:
            number = f"less than {10.0**-self.decimals:.{self.decimals}f}" if difference else "0"
        return f"{number}{self.points}"

    def signed(self, difference: float) -> str:
        """A difference with its sign, with the minus character; a dash if it is not known."""
        if not math.isfinite(difference):
            return "–"
        number = self._size(difference)
        sign = "" if float(number) == 0 else "+" if difference > 0 else "−"
        return f"{sign}{number}{self.points}"

    def oriented(self, difference: float) -> str:
        """A difference that is positive for better, as a signed difference of the metric."""
        return self.signed(difference if self.maximize else -difference)

    def compared(self, value: float, reference: float) -> str:
        """A value relative to a reference: `0.40 points above`, `less than 0.01 points above`, `equal to`."""
        if value == reference:
            return "equal to"
        return f"{self.gain(value - reference)} {'above' if value > reference else 'below'}"

    @property
    def axis(self) -> str:
        """The axis label: the name and the unit."""
        return f"{self.name} (%)" if self.scale != 1 else self.name

    def _size(self, difference: float) -> str:
        """A difference without its sign: at most three significant digits, since it is noisier than a value."""
        size = abs(difference) * self.scale
        if math.isfinite(size) and size >= LARGE:
            return f"{size:.1e}"
        decimals = 2 - math.floor(math.log10(size)) if math.isfinite(size) and size > 0 else self.decimals
        return f"{size:.{min(self.decimals, max(0, decimals))}f}"

    def _number(self, value: float) -> str:
        return f"{value * self.scale:.{self.decimals}f}"


def accuracy(examples: int, name: str = "validation accuracy") -> MetricFormat:
    """Accuracy as a percentage, measured on this many examples."""
    decimals = 2 if examples >= MANY_EXAMPLES else 1
    return MetricFormat(name, True, 100.0, "\u00a0%", "\u00a0points", decimals)


def loss(name: str = "validation loss", size: float = 0.1) -> MetricFormat:
    """A mean cross-entropy in nats: two significant digits of the given size, and at least three decimals.

    Its relative standard error is a few percent for a thousand examples, so more digits would be noise.
    """
    decimals = max(3, 1 - math.floor(math.log10(size))) if size > 0 else 3
    return MetricFormat(name, False, 1.0, "", "", decimals)


def measured_on(record: SweepRecord) -> str:
    """What the value of a trial of the search rests on."""
    return "one seed" if record.folds == 1 else f"mean of {record.folds} folds"


def objective(record: SweepRecord) -> MetricFormat:
    """The metric that ranks this study's trials; a loss has digits for the champion's mean, else for the best value."""
    name = f"validation {record.metric.label}"
    if record.metric.percent:
        return replace(accuracy(record.validated, name), maximize=record.maximize)
    best = next((trial.value for trial in record.ranked() if trial.value), 0.1)
    found = loss(name, (record.verdict or {}).get("confirm_mean") or best)
    return replace(found, maximize=record.maximize)


def setting(value: object) -> str:
    """A hyperparameter's value in three significant digits; close to 1, two significant digits of 1 - value."""
    if isinstance(value, (tuple, list)):
        return "-".join(str(item) for item in value)
    if not isinstance(value, float):
        return str(value)
    if 0.9 < value < 1:
        return f"{value:.{1 - math.floor(math.log10(1 - value))}f}".rstrip("0")
    return f"{value:.3g}"


def in_words(key: str) -> str:
    """A hyperparameter's key as words."""
    return key.replace("_", " ")


def searched(dimension: Mapping[str, object]) -> str:
    """One dimension of a search space, in words."""
    kind = dimension["kind"]
    if kind == "choice":
        return listed(setting(choice) for choice in _items(dimension["choices"]))
    if kind == "layers":
        layers, units = _items(dimension["layers"]), _items(dimension["units"])
        scale = ", log" if dimension.get("log") else ""
        return f"{_range(*layers)} layers of {_range(*units)}{scale}"
    scale = {True: ", log", "complement": ", log in 1 − value"}.get(dimension.get("log"), "")
    return f"{_range(dimension['low'], dimension['high'])}{scale}"


def _items(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _range(low: object, high: object) -> str:
    return setting(low) if low == high else f"{setting(low)} to {setting(high)}"


def small(value: float) -> str:
    """A loss in three decimals, or in two significant digits if it is below 0.01."""
    return "–" if not math.isfinite(value) else f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.1e}"


def short_names(names: Sequence[str], most: int) -> tuple[str, ...]:
    """Names in at most `most` characters, cut at the end, or in the middle where two would become the same."""
    ends = [name if len(name) <= most else f"{name[: most - 1].rstrip()}…" for name in names]
    seen = Counter(ends)
    return tuple(end if seen[end] == 1 else _middle(name, most) for name, end in zip(names, ends, strict=True))


def _middle(name: str, most: int) -> str:
    """A name without its middle part."""
    tail = most // 2
    return name if len(name) <= most else f"{name[: most - 1 - tail]}…{name[-tail:]}"


def duration(seconds: float) -> str:
    """Seconds in a suitable unit."""
    for size, unit in ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}\u00a0{unit}"
    return f"{seconds:.0f}\u00a0s" if seconds >= 10 else f"{seconds:.1f}\u00a0s"


def moment(when: datetime) -> str:
    """A time in UTC, to the minute."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def listed(parts: Iterable[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(parts)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}" if items else "none"


def counted(number: int, noun: str) -> str:
    """A number with its noun, `1 trial`, `2 trials`, with a thousands separator."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", "\u202f")


def outcomes(counts: Mapping[str, int]) -> str:
    """Outcomes of trials in a fixed order: `41 complete, 13 pruned, 2 diverged`."""
    order = [name for name in OUTCOMES if name in counts] + [name for name in counts if name not in OUTCOMES]
    return ", ".join(f"{counts[name]} {name}" for name in order)


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `4th`, `11th`, `21st`."""
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def percent(share: float, decimals: int = 0) -> str:
    """A fraction in 0..1 as percent."""
    exact = round(100 * share, 9)  # 100 * 0.575 is 57.49999999999999
    return f"{exact:.{decimals}f}\u00a0%"
