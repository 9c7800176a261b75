"""The tables of peers.py: bundled with scikit-learn, or drawn from a known rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits, load_iris, load_wine, make_classification
from sklearn.model_selection import StratifiedShuffleSplit

TEST_SHARE = 0.3
"""Of the rows, stratified; the contenders never see their labels."""
SPLITS = 3
SMALL = 1000
"""Rows up to which a table is split three times instead of once."""


@dataclass(frozen=True, eq=False)
class Table:
    """A classification task.

    Attributes:
        name: In the results.
        frame: Inputs of numbers and text with gaps, and the column `target`.
        score: `accuracy`, or `balanced_accuracy` where one class is rare.
    """

    name: str
    frame: pd.DataFrame
    score: str = "accuracy"

    def splits(self) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
        """Training and test rows, of each outer split."""
        number = SPLITS if len(self.frame) <= SMALL else 1
        splitter = StratifiedShuffleSplit(number, test_size=TEST_SHARE, random_state=0)
        found = splitter.split(self.frame, self.frame["target"])
        return [(self.frame.iloc[train], self.frame.iloc[test]) for train, test in found]


def all_tables() -> list[Table]:
    """The smallest first."""
    return [iris_gaps(), wine(), digits(), customers(), generated()]


def iris_gaps() -> Table:
    """150 rows: four lengths, one with gaps, and a useless text column with gaps."""
    bunch = load_iris(as_frame=True)
    rng = np.random.default_rng(0)
    frame = bunch.data.assign(site=rng.choice(["north", "south"], 150), target=bunch.target_names[bunch.target])
    frame.loc[rng.random(150) < 0.15, "site"] = None
    frame.loc[rng.random(150) < 0.1, "petal width (cm)"] = np.nan
    return Table("iris with gaps", frame)


def wine() -> Table:
    """178 rows of 13 numbers whose scales differ by a factor of 1,000."""
    return Table("wine", load_wine(as_frame=True).frame)


def digits() -> Table:
    """1,797 rows of 64 pixels."""
    return Table("digits", load_digits(as_frame=True).frame)


def customers() -> Table:
    """8,000 rows of numbers and text with gaps and heavy tails; 7 % of the customers leave.

    What decides: income relative to the price of the plan on a log scale, the region and plan together, age through a
    U shape, and whether there was ever a contact, which only a gap tells. The city has 300 values without influence.
    """
    rng = np.random.default_rng(1)
    n = 8000
    region = rng.choice(["north", "south", "east", "west", "islands"], n, p=[0.3, 0.3, 0.2, 0.15, 0.05])
    plan = rng.choice(["basic", "plus", "family"], n, p=[0.5, 0.3, 0.2])
    income, debt = rng.lognormal(8, 1.3, n), rng.lognormal(6, 2, n)
    age, calls = rng.uniform(18, 90, n), rng.poisson(2, n)
    contacted = rng.random(n) < 0.6
    change = rng.standard_cauchy(n)
    signal = (
        1.2 * (np.log(debt) - 6) / 2
        - 1.0 * (np.log(income) - 8) / 1.3
        + 1.5 * ((region == "south") & (plan == "basic"))
        - 1.5 * ((region == "north") & (plan == "family"))
        + 2.0 * np.abs(age - 54) / 36
        + 0.4 * calls
        - 1.2 * contacted
        + 0.8 * np.tanh(change)
    )
    leaves = signal + rng.logistic(0, 0.5, n) > np.quantile(signal, 0.93)
    frame = pd.DataFrame(
        {
            "region": region,
            "plan": plan,
            "city": np.char.add("city ", (300 * rng.random(n) ** 3).astype(int).astype(str)),
            "income": income.round(2),
            "debt": debt.round(2),
            "age": age.round(),
            "calls": calls,
            "days since contact": np.where(contacted, rng.exponential(100, n).round(), np.nan),
            "change": change.round(4),
            "target": np.where(leaves, "leaves", "stays"),
        }
    )
    for column, share in (("income", 0.1), ("region", 0.05), ("age", 0.03)):
        frame.loc[rng.random(n) < share, column] = None
    return Table("customers", frame, "balanced_accuracy")


def generated() -> Table:
    """50,000 rows of 30 numbers, 15 of which matter; 12 clusters in 4 classes, and 2 % of labels at random."""
    inputs, labels = make_classification(
        50_000,
        30,
        n_informative=15,
        n_redundant=5,
        n_classes=4,
        n_clusters_per_class=3,
        flip_y=0.02,
        random_state=0,
    )
    frame = pd.DataFrame(inputs.astype(np.float32), columns=[f"x{place}" for place in range(30)])
    return Table("generated", frame.assign(target=labels))
