"""Which curves a person wants to see first."""

import pytest

from runglass.models.tag_order import by_usefulness, usefulness


@pytest.mark.parametrize(
    ("tag", "rank"),
    [
        ("val/loss", 0), ("eval_loss", 0), ("train/loss", 1), ("loss", 2), ("bleu", 3), ("something", 4),
        ("grad_norm", 5), ("optim/lr", 6), ("train/tokens_per_second", 8), ("train_loss_time", 8), ("epoch", 9),
    ],
)  # fmt: skip
def test_that_results_come_before_what_only_counts(tag, rank):
    assert usefulness(tag) == rank


def test_that_pinned_tags_come_first_and_equals_by_how_many_runs_have_them():
    tags = {"epoch": 9, "b/loss": 1, "a/loss": 2, "val/loss": 1, "acc": 3}
    assert by_usefulness(tags, pinned=("epoch", "gone")) == ["epoch", "val/loss", "a/loss", "b/loss", "acc"]
