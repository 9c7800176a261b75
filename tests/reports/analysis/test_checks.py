"""Every check on synthetic studies with known truth: true and false warnings."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from reports.analysis.checks import CHECKS, checks, summary
from reports.analysis.checks.confirmed import winner_against_baseline
from reports.analysis.checks.finding import CANNOT_TELL, PASS, WARN, draws_to_tell, judged_share, tail
from reports.analysis.checks.space import boundary, crowded
from reports.analysis.checks.trials import noise, saturated
from reports.analysis.trial_budget import best_of, enough
from studies.record.schema import EPOCH

RATE = {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True}}
TWO = {**RATE, "beta1": {"kind": "float", "low": 0.8, "high": 0.99, "log": False}}


def found(record):
    return {check.name: check for check in checks(record)}


def status(record, name):
    return found(record)[name].status


def position(settings):
    """Where the learning rate lies in its range, 0 to 1."""
    return (math.log10(settings["learning_rate"]) + 4) / 2


def flat(settings):
    return 0.9


def valley(settings):
    """Best in the middle of the range of learning rates."""
    return 0.95 - 0.2 * (position(settings) - 0.55) ** 2


def uphill(settings):
    """Better the higher the learning rate: the best lies beyond the bound."""
    return 0.8 + 0.1 * position(settings)


def test_a_winner_at_a_bound_is_reported(known):
    record = known(60, uphill, space=TWO, seed=7)
    check = found(record)["boundary"]

    assert check.status == WARN
    assert check.numbers["bounds"] == [{"axis": "learning rate", "end": "upper"}]
    assert [axis.name for axis in crowded(record)] == ["learning rate"]


def test_a_winner_in_the_middle_is_not_at_a_bound(known):
    assert status(known(60, valley, space=RATE), "boundary") == PASS


def test_a_lower_bound_on_the_complement_scale_is_the_upper_one(known):
    space = {"beta2": {"kind": "float", "low": 0.9, "high": 0.9999, "log": "complement"}}
    record = known(60, lambda settings: 0.9 + 0.01 * -math.log10(1 - settings["beta2"]), space=space)

    assert found(record)["boundary"].numbers["bounds"] == [{"axis": "beta2", "end": "upper"}]


@pytest.mark.slow
def test_pure_noise_rarely_warns_of_a_bound(known):
    """60 sweeps of pure noise over seven axes: at most 1 in 10 warns, although half of the winners are at a bound."""
    warned = sum(boundary(known(30, flat, seed=seed)).status == WARN for seed in range(60))

    assert warned <= 6


def test_failed_trials_in_a_part_of_the_space_are_counted(known):
    check = found(known(60, flat, broken=lambda settings: settings["learning_rate"] > 3e-3))["infeasible share"]

    assert check.status == WARN
    assert check.numbers["share"] == check.numbers["broken"] / 60 > 0.1
    assert "loss became nan" in check.finding
    assert status(known(60, flat), "infeasible share") == PASS


@pytest.mark.slow
def test_pure_noise_is_reported_as_noise(known):
    """Of 20 sweeps in which all settings are truly equal, at most one passes.

    A winner passes in at most 2.5 % of them, so in none or one of 20 but for one time in a hundred.
    """
    sweeps = [known(40, flat, noise=0.004, confirm=5, seed=seed) for seed in range(20)]
    seen = [noise(record) for record in sweeps]

    assert sum(check.status == PASS for check in seen) <= 1
    assert sum(winner_against_baseline(record).status == PASS for record in sweeps) <= 1
    assert sum(check.status == WARN for check in seen) >= 14


def test_real_differences_are_not_reported_as_noise(known):
    checked = found(known(40, valley, noise=0.001, space=RATE, confirm=5))

    assert checked["noise"].status == PASS
    assert checked["noise"].numbers["noise"] == pytest.approx(0.001, rel=0.5)


def test_means_of_folds_are_expected_to_be_less_noisy_than_repeats(known):
    """A quarter of the variance with four folds, which the text names."""
    record = known(40, valley, noise=0.001, space=RATE, confirm=5)
    one, four = (noise(replace(record, study={**record.study, "folds": folds})) for folds in (1, 4))

    assert four.numbers["noise"] == pytest.approx(one.numbers["noise"] / 2)
    assert "of means of 4 folds by about" in four.finding
    assert "folds" not in one.finding


def test_a_truly_better_winner_passes(known):
    record = known(40, valley, noise=0.001, space=RATE, confirm=5)
    assert status(replace(record, verdict=None), "champion against baseline") == CANNOT_TELL

    better = known(40, lambda settings: uphill(settings), noise=0.001, space=RATE, confirm=5)
    assert status(better, "champion against baseline") == PASS


def test_a_champion_that_is_the_baseline_warns(known):
    record = known(12, lambda settings: 0.95 if settings["learning_rate"] == 0.001 else 0.9, space=RATE, confirm=3)

    assert status(record, "champion against baseline") == WARN


def test_enough_trials_warns_if_the_search_still_improves(known):
    """Only a corner of three axes is good, and 30 random trials rarely reach it."""
    three = {**TWO, "dropout": {"kind": "float", "low": 0.0, "high": 0.5, "log": False}}

    def corner(settings):
        away = (1 - position(settings), (0.99 - settings["beta1"]) / 0.19, 2 * settings["dropout"])
        return 0.9 - 0.3 * max(away)

    assert status(known(30, corner, noise=0.0, space=three), "enough trials") == WARN
    assert status(known(400, valley, noise=0.002, space=RATE, confirm=5), "enough trials") == PASS
    assert status(known(19, valley), "enough trials") == CANNOT_TELL


def test_an_adaptive_search_that_improved_at_its_end_warns(known):
    """Eight late trials are all good, so a random half of the trials contains some."""
    record = known(60, valley, space=RATE, sampler="tpe", noise=0.0)
    late = [replace(t, value=0.5 + 0.01 * t.number) if t.number >= 52 else t for t in record.trials]
    record = replace(record, trials=tuple(replace(t, finished=t.started) for t in late))

    assert status(record, "enough trials") == WARN
    assert enough(record).best - enough(record).before > 0.01


def test_the_expected_best_equals_the_mean_over_all_subsets():
    """Of the values 5, 4, 3, 2 the best of two is 5 in 3 of 6 choices, 4 in 2, 3 in 1."""
    np.testing.assert_allclose(best_of(4, 2), [3 / 6, 2 / 6, 1 / 6, 0])
    for n, m in ((1, 1), (7, 3), (5000, 40)):
        assert best_of(n, m).sum() == pytest.approx(1)


def test_the_expected_best_increases_from_the_mean_to_the_best(known):
    record = known(50, valley, space=RATE)
    values = np.array([trial.value for trial in record.trials])
    seen = enough(record)

    assert seen.mean[0] == pytest.approx(values.mean())
    assert seen.mean[-1] == seen.low[-1] == seen.high[-1] == values.max()
    assert (np.diff(seen.mean) > 0).all()
    assert (seen.low <= seen.high).all()


def test_pruning_that_discards_the_winner_is_found_by_the_unpruned_controls(known):
    """The pruner gives up the best third: of 20 unpruned controls those it gave up end best."""
    record = known(
        120,
        uphill,
        space=RATE,
        pruned=lambda settings, number: position(settings) > 0.66,
        controls=lambda n: n % 6 == 5,
        seed=7,
    )
    check = found(record)["pruning"]

    assert check.status == WARN
    assert check.numbers["misjudged"] == check.numbers["given up"] > 3


def test_pruning_that_only_stops_bad_trials_passes_with_enough_unpruned_controls(known):
    def bad(settings, number):
        return position(settings) < 0.5

    record = known(160, uphill, space=RATE, pruned=bad, controls=lambda n: n % 4 == 1)
    assert status(record, "pruning") == PASS

    few = known(40, uphill, space=RATE, pruned=bad, controls=lambda n: n in (5, 6))
    assert status(few, "pruning") == CANNOT_TELL


def shaped(record, loss, rate=0.001):
    """The record with this validation loss, a falling training loss and this learning rate in every trial."""

    def curve(trial):
        epochs = np.zeros(len(loss), EPOCH)
        epochs["validation_loss"], epochs["train_loss"] = loss, np.linspace(1, 0.1, len(loss))
        epochs["validation_accuracy"], epochs["learning_rate"] = 1 - np.asarray(loss) / 10, rate
        return replace(trial, epochs=epochs, selected_epoch=int(np.argmin(loss)))

    return replace(record, trials=tuple(map(curve, record.trials)))


@pytest.mark.parametrize(
    ("loss", "overfitting", "improving", "best_epoch"),
    [
        (np.exp(-np.arange(30) / 15), PASS, WARN, PASS),
        (0.1 + np.exp(-np.arange(30) / 2) + 0.004 * np.maximum(0, np.arange(30) - 9), WARN, PASS, PASS),
        (0.1 + 0.9 * np.exp(-np.arange(30) / 0.1) + 1e-5 * np.arange(30), PASS, PASS, WARN),
    ],
    ids=["improves to the end", "rises after a third", "level after two epochs"],
)
def test_the_epochs_are_judged_by_the_curves(known, loss, overfitting, improving, best_epoch):
    checked = found(shaped(known(20, valley), loss))

    assert checked["overfitting"].status == overfitting
    assert checked["still improving"].status == improving
    assert checked["best epoch"].status == best_epoch


def test_a_flat_curve_does_not_suggest_more_epochs(known):
    """Flat after a third, with the best epoch in the last quarter by chance; 7 epochs cannot tell."""
    rng = np.random.default_rng(1)
    loss = 0.1 * (1 + 9 * np.exp(-np.arange(30))) * np.exp(rng.normal(0, 0.01, 30))
    loss[27] = 0.098 * loss[10:].min() / 0.1
    checked = found(shaped(known(20, valley), loss))

    assert checked["best epoch"].numbers["last quarter"] == 1
    assert checked["best epoch"].status == checked["still improving"].status == PASS
    short = found(shaped(known(20, valley), np.exp(-np.arange(7) / 4)))["still improving"]
    assert short.status == CANNOT_TELL
    assert "0 of the best 5 completed trials have a curve of at least 8 finite epochs" in short.finding


def test_a_schedule_that_ends_at_zero_is_inconclusive_about_epochs(known):
    """Flat at the end because the learning rate is 0; improvement until then warns."""
    cosine = 0.0005 * (1 + np.cos(np.pi * np.arange(30) / 30))
    level = found(shaped(known(20, valley), 0.1 + np.exp(-np.arange(30) / 3), cosine))
    falling = found(shaped(known(20, valley), np.exp(-np.arange(30) / 15), cosine))

    assert level["still improving"].status == CANNOT_TELL
    assert level["best epoch"].status == PASS
    assert falling["still improving"].status == WARN
    assert "more epochs require a new, longer one" in falling["still improving"].finding


@pytest.mark.parametrize("trials", [0, 1, 3])
def test_few_trials_are_inconclusive(known, trials):
    statuses = {name: check.status for name, check in found(known(trials, valley)).items()}

    assert statuses.pop("pruning") == PASS  # none was pruned
    assert set(statuses.values()) == {CANNOT_TELL}


@pytest.mark.parametrize("outcome", ["failed", "diverged", "pruned", "running"])
def test_without_completed_trials_only_failures_are_checked(made_up, outcome):
    statuses = {name: check.status for name, check in found(made_up(40, outcome=outcome)).items()}
    broke = statuses.pop("infeasible share")

    assert broke == {"failed": WARN, "diverged": WARN, "pruned": PASS, "running": CANNOT_TELL}[outcome]
    assert WARN not in statuses.values()


def test_checks_have_a_fixed_order_and_are_valid_json(made_up, known):
    """For every record; without NaN, which JSON does not have."""
    for record in (made_up(0), made_up(60, confirmed=True), known(30, valley, confirm=3)):
        every = checks(record)
        assert len(every) == len(CHECKS)
        assert json.loads(json.dumps([check.as_dict() for check in every], allow_nan=False))


def test_the_summary_counts_the_checks_and_names_those_that_need_attention(known):
    record = known(60, uphill, space=TWO, seed=7)

    assert summary(checks(record)) == "7 checks passed, 1 needs attention (boundary), 4 cannot tell yet"
    assert summary(checks(known(0, flat))) == "1 check passed, 11 cannot tell yet"


@pytest.mark.parametrize(
    ("hits", "draws", "status", "needed"),
    [(0, 9, PASS, None), (0, 8, CANNOT_TELL, 9), (1, 1, CANNOT_TELL, 2), (2, 2, WARN, None), (0, 0, CANNOT_TELL, 9)],
)
def test_a_share_is_judged_by_the_exact_binomial_test(hits, draws, status, needed):
    """At most 1 in 20 is fine, 3 in 10 are too many: one of one tells nothing, and a pass needs nine."""
    assert judged_share(hits, draws, 0.05, 0.3) == status
    if needed:
        assert draws_to_tell(hits, draws, 0.05, 0.3) == needed


def test_so_many_trials_as_would_tell_are_named(known):
    """Of 12 random trials none failed, for which 14 are needed; three in 40 are between a few and many."""
    few = found(known(12, flat))

    assert few["infeasible share"].numbers["trials that would tell"] == 14
    assert few["boundary"].finding == "12 compared trials, 20 needed: about 20 trials would tell."
    assert few["enough trials"].finding == "12 finished trials, 20 needed: about 20 trials would tell."


def test_a_winner_that_more_repeats_would_tell_apart_is_no_warning(known):
    """The difference is 2.4 times the noise: three repeats cannot show it, some more can."""
    record = known(40, lambda s: 0.9 + 0.0025 * position(s), noise=0.0005, space=RATE, confirm=3, seed=4)
    check = winner_against_baseline(record)

    assert check.status == CANNOT_TELL
    assert 3 < check.numbers["repeats that would tell"] <= 20
    assert f"about {check.numbers['repeats that would tell']} would tell" in check.finding


def accurate(record, values, rows=100):
    """The record with these accuracies of its first trials, one half in the others, and fewer validation rows."""

    def changed(trial):
        value = values[trial.number] if trial.number < len(values) else 0.5
        epochs = trial.epochs.copy()
        epochs["validation_accuracy"] = value
        return replace(trial, epochs=epochs, value=value, validation_accuracy=value)

    trials = tuple(map(changed, record.trials))
    return replace(record, trials=trials, dataset={**record.dataset, "validation": rows})


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([0.97, 0.97, 0.97, 0.96, 0.95], WARN),
        ([1.0, 1.0, 0.99, 0.98, 0.97], WARN),
        ([0.98, 0.98, 0.97, 0.96, 0.95], PASS),
    ],
    ids=["three tie", "two make no error", "two tie"],
)
def test_validation_rows_that_do_not_rank_the_best_trials_are_reported(known, values, status):
    check = saturated(accurate(known(40, flat, noise=0.0), values))

    assert check.status == status
    assert ("Try objective" in check.finding) == (status == WARN)


def test_test_rows_of_another_kind_are_reported(made_up):
    """Validation accuracy near 98 %: the test's 98 % agrees, 90 % does not."""
    record = made_up(60, confirmed=True)
    worse = {**record.verdict, "test": {**record.verdict["test"], "accuracies": [0.9, 0.9, 0.9]}}

    assert status(record, "validation and test") == PASS
    assert status(replace(record, verdict=worse), "validation and test") == WARN
    assert status(replace(record, verdict={**record.verdict, "protocol": 1}), "validation and test") == CANNOT_TELL


def test_the_binomial_tail():
    assert tail(0, 5, 0.2) == pytest.approx(1)
    assert tail(5, 5, 0.5) == pytest.approx(1 / 32)
    assert tail(3, 5, 0.2) == pytest.approx(0.05792)
