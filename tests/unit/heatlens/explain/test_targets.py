import tracemalloc

import numpy as np
import pytest

from heatlens.card import Card
from heatlens.errors import InvalidOption
from heatlens.explain.targets import PREDICTED, TargetRequest, choose_targets, label_of, parse_targets, selector
from heatlens.types import Floats, Target
from tests.support.tiny import bare_card

SEVERAL = bare_card(("cat", "dog", "top-1", "3", "bird, small"), "softmax")
ONE = bare_card(("CLEAR", "OPACITY"), "sigmoid")
MANY = bare_card((*(f"class {number}" for number in range(99)), "goldfish"), "softmax")
PIPED = bare_card(("a", "a|b", "[1]"), "softmax")
LOGITS = np.array([0.5, 2.0, -1.0, 2.0, 1.0], np.float32)


@pytest.mark.parametrize(
    ("targets", "contrast", "card", "target_request"),
    [
        ([], None, SEVERAL, PREDICTED),
        (["dog"], None, SEVERAL, TargetRequest(((1,),))),
        (["2", "cat", "2"], None, SEVERAL, TargetRequest(((2,), (0,)))),
        (["bird, small"], None, SEVERAL, TargetRequest(((4,),))),
        (["top-3"], None, SEVERAL, TargetRequest(ranks=3)),
        (["top-2", "cat", "top-4"], None, SEVERAL, TargetRequest(((0,),), ranks=4)),
        (["top-1"], None, SEVERAL, TargetRequest(((2,),))),  # a class of that name
        (["3"], None, SEVERAL, TargetRequest(((3,),))),
        (["top-1"], None, ONE, PREDICTED),
        (["0", "OPACITY"], None, ONE, TargetRequest(((0,), (1,)))),
        (["cat"], "dog", SEVERAL, TargetRequest(((0,),), contrast=1)),
        ([], "4", SEVERAL, TargetRequest(ranks=1, contrast=4)),
        (["dog|cat"], None, SEVERAL, TargetRequest(((0, 1),))),
        (["0|1|dog"], None, SEVERAL, TargetRequest(((0, 1),))),
        ([("dog", 0)], None, SEVERAL, TargetRequest(((0, 1),))),
        (['["bird, small", 0]'], None, SEVERAL, TargetRequest(((0, 4),))),
        (["dog|cat", "cat|dog", "dog"], None, SEVERAL, TargetRequest(((0, 1), (1,)))),
        (["dog|dog"], None, SEVERAL, TargetRequest(((1,),))),
        (["cat|dog"], "top-1", SEVERAL, TargetRequest(((0, 1),), contrast=2)),
        (["a|b"], None, PIPED, TargetRequest(((1,),))),  # a class of that name
        (["[1]"], None, PIPED, TargetRequest(((2,),))),
        (['["a|b", "a"]'], None, PIPED, TargetRequest(((0, 1),))),
    ],
)
def test_parses_targets(targets: list[Target], contrast: str | None, card: Card, target_request: TargetRequest) -> None:
    assert parse_targets(targets, contrast, card) == target_request


@pytest.mark.parametrize(
    ("targets", "contrast", "card", "message"),
    [
        (
            ["horse"],
            None,
            SEVERAL,
            "'horse' is no class of this model: a label ('cat', 'dog', 'top-1', '3', 'bird, small'), 0 to 4, or top-1",
        ),
        (["Goldfisch"], None, MANY, "is no class of this model: a label ('goldfish'), 0 to 99, or top-1"),
        (["zzz"], None, MANY, "'zzz' is no class of this model: a label, 0 to 99, or top-1"),
        (["5"], None, SEVERAL, "target: '5' is no class"),
        (["-1"], None, SEVERAL, "target: '-1' is no class"),
        (["²"], None, SEVERAL, "is no class"),
        (["9" * 5000], None, SEVERAL, "is no class"),
        ([""], None, SEVERAL, "target: '' is no class"),
        (["top-0"], None, SEVERAL, "is no class"),
        (["top-6"], None, SEVERAL, "target: top-6 of 5 classes"),
        (["top-5"], "cat", SEVERAL, "target: top-5 of 4 classes beside the contrasted one"),
        (["top-3"], None, ONE, "target: top-3 of 2 classes"),
        (["cat"], "horse", SEVERAL, "contrast: 'horse' is no class"),
        (["cat|horse"], None, SEVERAL, "target: 'horse' is no class"),
        (["cat|"], None, SEVERAL, "target: '' is no class"),
        (["top-2|cat"], None, SEVERAL, "target: 'top-2' is no class"),
        (["[]"], None, SEVERAL, "target: a group without classes"),
        ([()], None, SEVERAL, "target: a group without classes"),
        (["[1.5]"], None, SEVERAL, "target: '[1.5]' is no class"),
        (["[true]"], None, SEVERAL, "target: '[true]' is no class"),
        (["[" * 5000], None, SEVERAL, "is no class"),
        (["[" + "9" * 5000 + "]"], None, SEVERAL, "is no class"),
        (["CLEAR|OPACITY"], None, ONE, "target: 'CLEAR|OPACITY' are the two signs of one logit: name one of them"),
        (["cat|dog"], "dog", SEVERAL, "contrast: 'dog' cannot be contrasted with itself"),
        (["cat", "dog"], "1", SEVERAL, "contrast: 'dog' cannot be contrasted with itself"),
    ],
)
def test_rejects_invalid_targets(targets: list[Target], contrast: str | None, card: Card, message: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        parse_targets(targets, contrast, card)

    assert message in str(refused.value)
    assert len(str(refused.value)) < 200
    assert refused.value.mistakes[0].field == message.split(":")[0] or "is no class" in message


@pytest.mark.parametrize(
    ("target_request", "indices"),
    [
        (PREDICTED, [1]),  # the first of equals, as argmax has it
        (TargetRequest(ranks=3), [1, 3, 4]),
        (TargetRequest(((3,),), ranks=2), [3, 1]),
        (TargetRequest(((0,), (2,))), [0, 2]),
        (TargetRequest(ranks=2, contrast=1), [3, 4]),
    ],
)
def test_ranks_are_by_logit(target_request: TargetRequest, indices: list[int]) -> None:
    assert choose_targets(target_request, LOGITS, SEVERAL) == [(index,) for index in indices]


def test_a_group_is_one_target_beside_the_best_classes() -> None:
    request = TargetRequest(((0, 2), (1,)), ranks=2)

    assert choose_targets(request, LOGITS, SEVERAL) == [(0, 2), (1,), (3,)]


def test_a_group_is_explained_by_the_mean_of_its_logits() -> None:
    assert selector((1, 3), PREDICTED, SEVERAL).tolist() == [0, 0.5, 0, 0.5, 0]
    assert selector((1, 3), TargetRequest(contrast=0), SEVERAL).tolist() == [-1, 0.5, 0, 0.5, 0]


def test_the_label_of_a_group_names_every_class() -> None:
    assert label_of((0, 4), SEVERAL) == "cat|bird, small"


@pytest.mark.parametrize(("logit", "indices"), [(0.2, [1, 0]), (-0.2, [0, 1]), (0.0, [1, 0])])
def test_the_two_classes_of_one_logit_are_its_signs(logit: float, indices: list[int]) -> None:
    assert choose_targets(TargetRequest(ranks=2), np.array([logit], np.float32), ONE) == [(index,) for index in indices]


@pytest.mark.parametrize(
    ("index", "target_request", "card", "row"),
    [
        (1, PREDICTED, SEVERAL, [0, 1, 0, 0, 0]),
        (1, TargetRequest(contrast=4), SEVERAL, [0, 1, 0, 0, -1]),
        (1, PREDICTED, ONE, [1]),
        (0, PREDICTED, ONE, [-1]),
        (1, TargetRequest(contrast=0), ONE, [1]),  # its logit is already the lead of one class over the other
    ],
)
def test_selectors(index: int, target_request: TargetRequest, card: Card, row: list[float]) -> None:
    made: Floats = selector((index,), target_request, card)
    assert made.tolist() == row


def test_the_best_of_tens_of_thousands_of_classes_are_not_sorted_into_a_list_of_all() -> None:
    card = bare_card(tuple(f"class {index}" for index in range(21841)), "softmax")
    logits = np.random.default_rng(0).permutation(21841).astype(np.float32)

    tracemalloc.start()
    targets = choose_targets(TargetRequest(ranks=3), logits, card)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [logits[index] for (index,) in targets] == [21840, 21839, 21838]
    assert peak < 6 * logits.nbytes  # a list of as many tuples takes twenty times
