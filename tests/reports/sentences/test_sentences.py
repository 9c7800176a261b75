"""No untrue sentence: each one that a report prints is in the catalogue, and true by the record.

The sentences of other reports than the drawn ones are checked by the same catalogue: see `untrue`.
"""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sentences import (  # noqa: F401 - they fill the catalogue
    of_advice,
    of_answer,
    of_checks,
    of_comparison,
    of_cost,
    of_curve_checks,
    of_errors,
    of_result,
    of_search,
    of_space,
)
from sentences.agreement import disagreements, unknown, wrong_cells
from sentences.catalogue import CATALOGUE, parsed
from sentences.chosen import CHOSEN, COMPARED
from sentences.facts import Facts
from sentences.of_comparison import Together
from sentences.studies import Sketch, made
from sentences.texts import comparison_texts, texts

from reports.analysis.next_study import propose

SAID = ("title", "section", "heading", "paragraph", "note", "item", "command", "figure")
OF_COMPARISONS = ("comparison", "comparison finding")


def renamed(record, name, seed):
    """The record of a study of another name and seed."""
    return replace(record, study={**record.study, "name": name, "seed": seed})


def untrue(record, reached):
    """What a report says that is unlisted, ambiguous, untrue, cut off, or not the same on two pages."""
    proposal = propose(record)
    facts, said = Facts(record, proposal), texts(record, proposal)
    found = [problem for one in said if one.kind in SAID for problem in wrong(facts, one.text, one.under, reached)]
    is_short = record.name == "study"  # without the long texts of users
    found += [f"cut off: {one.text}" for one in said if one.cut and is_short]
    found += [one.text for one in said if one.kind == "overflow"]
    return [*found, *disagreements(facts, said), *unknown(facts, said), *wrong_cells(facts, said)]


def wrong(facts, text, under, reached):
    """The sentences of a text that are not in the catalogue exactly once, or not true."""
    for sentence, entries in parsed(text, under):
        if len(entries) != 1:
            yield f"{len(entries)} entries: {sentence} ({under})"
            continue
        entry, fields = entries[0]
        reached[entry] += 1
        if not entry.holds(facts, **fields):
            yield f"untrue: {sentence} ({under})"


@pytest.fixture(scope="module")
def told():
    """What is wrong with the reports of the chosen studies, and how often each entry was reached."""
    reached = Counter()
    return {sketch: untrue(made(sketch), reached) for sketch in CHOSEN}, reached


def test_every_sentence_of_a_report_is_listed_and_true(told):
    assert {sketch: found for sketch, found in told[0].items() if found} == {}


def test_every_entry_is_printed_by_some_report(told):
    """No entry is dead, so that none hides what has changed."""
    entries = [entry for entry in CATALOGUE if entry.under not in OF_COMPARISONS]
    assert [entry.template for entry in entries if not told[1][entry]] == []


def test_every_sentence_of_a_comparison_is_listed_and_true():
    reached, found = Counter(), []
    for several in COMPARED:
        records = [renamed(made(sketch), name, seed) for sketch, name, seed in several]
        facts = Together(records)
        for one in comparison_texts(records):
            if one.kind in SAID:
                is_finding = one.kind == "title" and one.text.lower().startswith("the champion of")
                found += wrong(facts, one.text, OF_COMPARISONS[is_finding], reached)

    assert found == []
    assert [e.template for e in CATALOGUE if e.under in OF_COMPARISONS and not reached[e]] == []


def test_a_sentence_is_found_where_it_is_untrue():
    """A record that is not the one of the report: other outcomes, another best trial."""
    record, other = (made(Sketch(trials=12, seed=seed, outcomes=("complete", "pruned"))) for seed in (1, 2))
    facts = Facts(other, propose(other))
    found = [
        p
        for one in texts(record, propose(record))
        if one.kind in SAID
        for p in wrong(facts, one.text, one.under, Counter())
    ]

    assert any(problem.startswith("untrue: ") for problem in found)
    assert list(wrong(facts, "The best trial is a good one.", None, Counter())) == [
        "0 entries: The best trial is a good one. (None)"
    ]


OUTCOMES = st.lists(
    st.sampled_from(
        ["complete"] * 8
        + ["pruned"] * 3
        + ["diverged", "failed", "timeout", "out of memory", "running", "paused", "interrupted"]
    ),
    min_size=1,
    max_size=6,
).map(tuple)
CONFIRMED = "none no running even better better unsure worse lost diverged kept passed_over alone tied screened same"
SKETCHES = st.builds(
    Sketch,
    outcomes=OUTCOMES,
    trials=st.sampled_from([0, 1, 2, 3, 6, 12, 12, 15, 25, 45]),
    planned=st.sampled_from([None, 6, 12, 45, 100]),
    objective=st.sampled_from([f"validation_{name}" for name in ("accuracy", "loss", "balanced_accuracy", "macro_f1")]),
    epoch=st.sampled_from(["best", "best", "last"]),
    epochs=st.sampled_from([1, 2, 6, 12, 12, 20]),
    shape=st.sampled_from(
        ["falling", "flat", "rising", "improving", "annealed", "noisy", "early", "cosine", "mixed", "upset"]
    ),
    effect=st.sampled_from([0, 1e-15, 0.02, 0.02, 0.2]),
    at=st.sampled_from([0, 0.6, 1]),
    noise=st.sampled_from([0, 1e-15, 0.002, 0.02]),
    space=st.sampled_from(["one", "point", "two", "many", "all", "wide", "wider"]),
    sampler=st.sampled_from(["tpe", "random", "qmc"]),
    pruner=st.sampled_from(["median", "halving", "none", "hyperband"]),
    generation=st.sampled_from([None, None, 4]),
    minutes=st.sampled_from([None, None, 3]),
    folds=st.sampled_from([1, 1, 5]),
    confirm=st.sampled_from(CONFIRMED.split()),
    test=st.sampled_from([-0.02, 0, 0.001, 0.02, 0.03]),
    protocol=st.sampled_from([1, 2, 2]),
    classes=st.sampled_from([2, 3, 10, 25, 1000]),
    clock=st.sampled_from(["right", "back", "still"]),
    hostile=st.booleans(),
    scale=st.sampled_from([0, 0.01, 3, 30_000]),
    controls=st.sampled_from([0, 2, 3]),
    seed=st.integers(0, 999),
    repeats=st.sampled_from([1, 2, 3, 5]),
    floor=st.sampled_from([0, 0.05]),
    second=st.sampled_from([0, 0.1]),
)


@pytest.mark.slow
@settings(
    max_examples=250, derandomize=True, deadline=None, database=None,
    phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(SKETCHES)
def test_every_sentence_of_drawn_studies_is_listed_and_true(sketch):
    assert untrue(made(sketch), Counter()) == []
