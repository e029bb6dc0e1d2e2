"""The classifier of categories: accuracy, calibration, and data that it must not use."""

import numpy as np
import pytest

pytest.importorskip("torch")

from recsys.errors import ModelError, NotEnoughDataError
from recsys.evaluation.metrics.classification import calibration_error
from recsys.models.categories.classifier import (
    CategoryClassifier,
    CategoryClassifierConfig,
    cross_entropy,
    fit_temperature,
    softmax,
)
from tests.communities import Communities, make_communities

LEARN, CALIBRATE, TEST = slice(0, 240), slice(240, 320), slice(320, 400)
TESTED = np.arange(TEST.start, TEST.stop, dtype=np.int32)


def only(labels: np.ndarray, part: slice) -> np.ndarray:
    kept = np.full_like(labels, -1)
    kept[part] = labels[part]
    return kept


def fitted(shop: Communities, labels: np.ndarray, seed: int = 0) -> CategoryClassifier:
    config = CategoryClassifierConfig(hidden=32, seed=seed)
    return CategoryClassifier(config).fit(
        shop.vectors, shop.positives, only(labels, LEARN), only(labels, CALIBRATE)
    )


def test_two_communities_are_separated_by_the_graph_alone():
    shop = make_communities(400, loyalty=0.95, signal=0)
    probabilities = fitted(shop, shop.community).probabilities(TESTED)
    assert probabilities.shape == (len(TESTED), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.mean(probabilities.argmax(axis=1) == shop.community[TEST]) > 0.97


def test_two_communities_are_separated_by_the_vectors_alone():
    shop = make_communities(400, loyalty=0, signal=6)
    assert np.mean(fitted(shop, shop.community).probabilities(TESTED).argmax(axis=1) == shop.community[TEST]) > 0.97


def test_an_items_own_label_is_not_among_its_inputs_and_random_labels_cannot_be_predicted():
    shop = make_communities(400, loyalty=0.95, signal=6)
    labels = np.random.default_rng(3).integers(2, size=400).astype(np.int32)
    classifier = fitted(shop, labels)
    learned = np.arange(LEARN.start, LEARN.stop, dtype=np.int32)
    # A network that saw an item's own label would know it; one of 32 units remembers some, never nearly all.
    assert np.mean(classifier.probabilities(learned).argmax(axis=1) == labels[LEARN]) < 0.8
    assert 0.3 < np.mean(classifier.probabilities(TESTED).argmax(axis=1) == labels[TEST]) < 0.7


def test_the_temperature_undoes_confidence_that_was_made_up():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((4000, 3)).astype(np.float32) * 2
    drawn = generator.random((4000, 1)) > softmax(logits).cumsum(axis=1)
    truth = np.minimum(drawn.sum(axis=1), 2).astype(np.int32)
    for factor in (0.2, 1, 7):
        temperature = fit_temperature(logits * np.float32(factor), truth)
        assert temperature == pytest.approx(factor, rel=0.06)
        made_up, honest = (softmax(logits * np.float32(factor / divisor)) for divisor in (1, temperature))
        errors = [calibration_error(p.max(axis=1), p.argmax(axis=1) == truth) for p in (made_up, honest)]
        assert errors[1] < max(0.03, errors[0] / 3)


def test_calibration_does_no_harm_on_noisy_labels():
    shop = make_communities(4000, loyalty=0.5, signal=0.5)
    generator = np.random.default_rng(1)
    wrong = generator.random(4000) < 0.3
    labels = np.where(wrong, generator.integers(2, size=4000), shop.community).astype(np.int32)
    learn, calibrate, test = slice(0, 1000), slice(1000, 2000), slice(2000, 4000)
    config = CategoryClassifierConfig(learning_rate=0.02, dropout=0, hidden=256)
    classifier = CategoryClassifier(config).fit(
        shop.vectors, shop.positives, only(labels, learn), only(labels, calibrate)
    )
    logits, truth = classifier.logits(np.arange(2000, 4000, dtype=np.int32)), labels[test]
    calibrated = logits / np.float32(classifier.temperature)
    assert cross_entropy(calibrated, truth) <= cross_entropy(logits, truth) + 0.005
    before, after = (
        calibration_error(p.max(axis=1), p.argmax(axis=1) == truth) for p in (softmax(logits), softmax(calibrated))
    )
    assert after < before + 0.01
    assert after < 0.06


def test_same_seed_same_probabilities():
    shop = make_communities(400, loyalty=0.7, signal=0.5)
    first, again, other = (fitted(shop, shop.community, seed).probabilities(TESTED) for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_a_category_that_only_the_calibration_items_have_is_never_likely():
    shop = make_communities(400, loyalty=0.95, signal=0)
    labels = shop.community.copy()
    labels[240:244] = 2
    probabilities = fitted(shop, labels).probabilities(TESTED)
    assert probabilities.shape[1] == 3
    assert (probabilities.argmax(axis=1) < 2).all()


def test_what_cannot_be_learned_is_said():
    shop = make_communities(400, loyalty=0.9, signal=1)
    with pytest.raises(NotEnoughDataError, match="240 items of 1 categories to learn from and 80 to calibrate on"):
        fitted(shop, np.zeros(400, np.int32))
    few = only(shop.community, slice(0, 19))
    with pytest.raises(NotEnoughDataError, match="19 items of 2 categories"):
        CategoryClassifier().fit(shop.vectors, shop.positives, few, only(shop.community, CALIBRATE))
    with pytest.raises(NotEnoughDataError, match="0 items of 0 categories"):
        CategoryClassifier().fit(shop.vectors, shop.positives, few * 0 - 1, few * 0 - 1)
    with pytest.raises(ModelError, match="not finite"):
        CategoryClassifier().fit(
            shop.vectors * np.float32(np.nan),
            shop.positives,
            only(shop.community, LEARN),
            only(shop.community, CALIBRATE),
        )
