"""The majority class and the lowest recall, calculated by hand."""

from dataclasses import replace

import pytest

from reports.analysis.final_models import final_objective
from reports.analysis.imbalance import imbalance
from reports.analysis.statistics import wilson
from sweep.commands.conclusion import conclusion
from sweep.commands.status import summary


def opened(made_up, confusion, *, names=None, metrics=None, objective="validation_accuracy"):
    """A confirmed study with this confusion matrix of the test set."""
    record = made_up(12, outcome="complete", confirmed=True)
    test = {**record.verdict["test"], "confusion": confusion}
    data = {**record.dataset, "classes": len(confusion)}
    return replace(
        record,
        study={**record.study, "objective": objective},
        dataset=data | ({"class_names": names} if names else {}),
        verdict={**record.verdict, "test": test | ({"metrics": metrics} if metrics else {})},
    )


def test_a_rare_class_that_is_seldom_found(made_up):
    found = imbalance(opened(made_up, [[970, 6], [20, 4]], names=["honest", "fraud"]))

    assert (found.split, found.majority, found.worst, found.examples) == ("test", "honest", "fraud", 24)
    assert found.share == 0.976
    assert found.balanced == 0.5
    assert found.recall == pytest.approx(4 / 24)
    assert (found.low, found.high) == wilson(4 / 24, 24)
    assert '"honest": always predicting it has an accuracy of 97.6\u00a0%' in found.sentences()[0]
    assert 'class "fraud": 16.7\u00a0% of its 24 examples' in found.sentences()[1]
    assert found.sentences()[2] == (
        'Of 10 examples that were predicted to be of class "fraud", 4 are (precision 40.0\u00a0%).'
    )


def test_a_rare_class_that_is_never_predicted(made_up):
    found = imbalance(opened(made_up, [[970, 0], [24, 0]], names=["honest", "fraud"]))

    assert found.sentences()[2] == 'No example was predicted to be of class "fraud".'


@pytest.mark.parametrize(
    ("confusion", "imbalanced"),
    [
        ([[66, 0], [0, 34]], False),
        ([[67, 0], [0, 33]], True),
        ([[50, 0, 0], [0, 25, 0], [0, 0, 25]], False),  # exactly twice the others' mean
        ([[51, 0, 0], [0, 25, 0], [0, 0, 25]], True),
        ([[80, 0, 0], [0, 20, 0], [0, 0, 0]], True),  # a class without examples does not count
        ([[60, 0, 0], [0, 40, 0], [0, 0, 0]], False),
        ([[9, 0], [0, 0]], False),  # one class only: there is nothing to compare it with
    ],
)
def test_a_majority_class_is_more_than_twice_as_frequent_as_the_others(made_up, confusion, imbalanced):
    assert (imbalance(opened(made_up, confusion)) is not None) == imbalanced


def test_before_the_test_set_is_opened_the_validation_examples_are_used(made_up):
    record = made_up(1, outcome="complete")
    trials = (replace(record.trials[0], confusion=((90, 0), (5, 5))),)
    found = imbalance(replace(record, trials=trials, dataset={**record.dataset, "classes": 2}))

    assert (found.split, found.majority, found.worst, found.recall) == ("validation", "0", "1", 0.5)
    assert imbalance(replace(record, trials=())) is None


def test_the_terminal_and_the_json_name_the_imbalance(made_up):
    record = opened(made_up, [[970, 6], [20, 4]], names=["honest", "fraud"])
    lines = conclusion(record)

    assert any('97.6 % of the test examples are of class "honest"' in line for line in lines)
    assert any('The lowest recall is that of class "fraud": 16.7 %' in line for line in lines)
    assert summary(record)["imbalance"]["share"] == 0.976
    assert summary(opened(made_up, [[5, 0], [0, 5]]))["imbalance"] is None


def test_the_objective_on_the_test_set(made_up):
    """Each final model's, if the objective is neither accuracy nor loss, and if it was recorded."""
    metrics = [{"balanced_accuracy": 0.7, "accuracy": 0.9}, {"balanced_accuracy": 0.8, "accuracy": 0.9}]
    record = opened(made_up, [[5, 0], [0, 5]], metrics=metrics, objective="validation_balanced_accuracy")
    older = opened(made_up, [[5, 0], [0, 5]], objective="validation_balanced_accuracy")

    assert final_objective(record).values == (0.7, 0.8)
    assert final_objective(record).baseline is None
    tested = {**record.verdict["test"], "baseline": {"accuracies": [1.0], "metrics": [{"balanced_accuracy": 0.5}]}}
    against = replace(record, verdict={**record.verdict, "test": tested})
    assert final_objective(against).baseline == 0.5
    assert "mean of 2 final models (70.00 % to 80.00 %); the baseline's 50.00 %" in "\n".join(conclusion(against))
    assert summary(record)["mean_test_objective"] == pytest.approx(0.75)
    assert "test balanced accuracy: 75.00 %, mean of 2 final models (70.00 % to 80.00 %)" in conclusion(record)
    assert final_objective(older) is None
    assert final_objective(opened(made_up, [[5, 0], [0, 5]], metrics=metrics)) is None
    unknown = opened(made_up, [[5]], metrics=[{"roc_auc": None}], objective="validation_roc_auc")
    assert final_objective(unknown) is None
