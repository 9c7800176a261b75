"""How evenly rows are spread over classes."""

from collections.abc import Sequence


def majority_share(counts: Sequence[int]) -> float:
    """Share of rows (0..1) in the largest class: the accuracy of always predicting it."""
    return max(counts) / sum(counts)


def is_imbalanced(counts: Sequence[int]) -> bool:
    """Whether the largest class has more than twice as many rows as the other classes have on average.

    With two classes that is a share above 2/3, with ten a share above 2/11: about twice the share of equal classes.
    """
    largest = max(counts)
    return len(counts) > 1 and largest * (len(counts) - 1) > 2 * (sum(counts) - largest)
