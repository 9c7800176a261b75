"""Numbers in words."""

from reports.analysis.wording import percent


def test_a_percentage_is_rounded_from_the_share_that_is_meant():
    """100 * 0.575 is 57.49999999999999."""
    assert percent(23 / 40) == "58\u00a0%"
    assert percent(0.574999, 0) == "57\u00a0%"
