import math

import numpy as np
import pytest

from heatlens.explain import predict as module
from heatlens.explain.predict import group_score, predict, scores
from heatlens.model import Model
from heatlens.types import Floats


def floats(values: list[float]) -> Floats:
    return np.array(values, np.float32)


def test_one_logit_positive(tiny_model: Model) -> None:
    prediction = predict(floats([2.0]), tiny_model.card)

    assert (prediction.label, prediction.index) == ("BRIGHT", 1)
    assert prediction.probability == pytest.approx(1 / (1 + math.exp(-2)))
    assert (prediction.logit, prediction.margin) == (2, 2)


def test_one_logit_negative_is_the_other_class_with_the_negated_logit(tiny_model: Model) -> None:
    prediction = predict(floats([-3.0]), tiny_model.card)

    assert (prediction.label, prediction.index, prediction.logit) == ("DARK", 0, 3)
    assert prediction.probability == pytest.approx(1 / (1 + math.exp(-3)))


@pytest.mark.parametrize("logit", [-500.0, 500.0])
def test_a_sure_sigmoid_neither_overflows_nor_warns(tiny_model: Model, logit: float) -> None:
    assert predict(floats([logit]), tiny_model.card).probability == 1


def test_softmax(tiny_model: Model) -> None:
    card = tiny_model.card.model_copy(update={"output": "softmax", "classes": ("a", "b", "c")})
    logits = floats([1000, 1002, 1001])

    prediction = predict(logits, card)

    weights = [math.exp(value - 1002) for value in (1000, 1002, 1001)]
    assert prediction.label == "b"
    assert prediction.probability == pytest.approx(1 / sum(weights))
    assert prediction.margin == 1


def test_multilabel_probability_is_each_class_own(tiny_model: Model) -> None:
    card = tiny_model.card.model_copy(update={"output": "multilabel", "classes": ("a", "b")})

    assert predict(floats([0.0, -1.0]), card).probability == 0.5
    assert predict(floats([-1.0, 0.0]), card).label == "b"


@pytest.mark.parametrize(("output", "function"), [("softmax", "_softmax"), ("multilabel", "_sigmoids")])
def test_the_scores_of_all_classes_are_computed_at_once(
    output: str, function: str, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one, 21,841 exclusive classes would take 477 million exponentials."""
    classes = tuple(f"class {index}" for index in range(50))
    card = tiny_model.card.model_copy(update={"output": output, "classes": classes})
    logits = np.linspace(-2, 2, 50).astype(np.float32)
    apart = [group_score(logits, (index,), card) for index in range(50)]
    calls, own = [], getattr(module, function)

    def counted(values: Floats) -> Floats:
        calls.append(len(values))
        found: Floats = own(values)
        return found

    monkeypatch.setattr(module, function, counted)

    together = scores(logits, card)
    group_score(logits, tuple(range(50)), card)

    np.testing.assert_allclose([(each.probability, each.logit) for each in together], apart, rtol=1e-12)
    assert [each.label for each in together] == list(classes)
    assert calls == [50, 50]
