"""Forward operators y = A G(z): compressed sensing, inpainting, merged layers, refusals."""

import numpy as np
import pytest
from scipy import sparse

import jaxinv
from jaxinv import Status
from jaxinv.model.measurement import measured


def recovery_error(found, latent):
    difference = np.linalg.norm(np.asarray(found) - latent, axis=-1)
    return difference / np.linalg.norm(latent, axis=-1)


def planted(last="leaky_relu:0.1", rows=12):
    rng = np.random.default_rng(0)
    shapes, names = ((30, 6), (100, 30)), ("leaky_relu:0.1", last)
    generator = jaxinv.Generator.from_layers(
        [
            (rng.standard_normal(s) / np.sqrt(s[0]), rng.standard_normal(s[0]) * 0.1, name)
            for s, name in zip(shapes, names, strict=True)
        ]
    )
    latent = rng.standard_normal((rows, 6))
    return generator, latent, np.asarray(generator(latent)), rng


def test_compressed_sensing_is_one_argument_however_it_is_given():
    generator, latent, x, rng = planted()
    a = rng.standard_normal((25, 100))
    a[np.abs(a) < 1.0] = 0.0
    answers = [
        jaxinv.invert(generator, x @ a.T, operator=operator)
        for operator in (a, sparse.csr_array(a), (lambda v: a @ v, lambda v: a.T @ v))
    ]
    for found in answers:
        assert found.counts() == {Status.SOLVED: 12}
        assert recovery_error(found.latent, latent).max() < 1e-9
        np.testing.assert_allclose(found.latent, answers[0].latent, atol=1e-10)


@pytest.mark.parametrize("last", ["identity", "relu", "sigmoid"])
def test_operators_merge_into_the_last_layer_where_that_is_exact(last):
    generator, latent, x, rng = planted(last)
    entries = np.eye(100)[rng.permutation(100)[:60]]
    merged = measured(generator, entries)
    assert merged.depth == 2
    np.testing.assert_allclose(merged(latent), x @ entries.T, atol=1e-12)
    mixing = rng.standard_normal((60, 100))
    assert measured(generator, mixing).depth == (2 if last == "identity" else 3)
    np.testing.assert_allclose(measured(generator, mixing)(latent), x @ mixing.T, atol=1e-12)


@pytest.mark.parametrize("method", ["exact", "linf"])
def test_layerwise_methods_take_operators_behind_a_linear_layer(method):
    generator, latent, x, rng = planted("identity")
    a = rng.standard_normal((60, 100)) / 10
    found = jaxinv.invert(generator, x @ a.T, method, operator=a)
    assert bool(found.ok.all())
    assert recovery_error(found.latent, latent).max() < 1e-6


def test_a_mask_is_the_same_as_choosing_entries():
    generator, latent, x, rng = planted()
    mask = rng.random(100) < 0.25
    by_mask = jaxinv.invert(generator, x, mask=mask)
    by_operator = jaxinv.invert(generator, x[:, mask], operator=np.eye(100)[mask])
    assert recovery_error(by_mask.latent, latent).max() < 1e-9
    np.testing.assert_allclose(by_mask.latent, by_operator.latent, atol=1e-9)


def test_fewer_observed_entries_than_unknowns_are_counted():
    generator, _, x, _ = planted()
    found = jaxinv.invert(generator, x, mask=np.arange(100) < 4)
    assert found.counts() == {Status.UNDERDETERMINED: 12}
    assert np.asarray(found.undetermined).tolist() == [2] * 12


def test_bad_rows_behind_masks_and_operators_are_bad_alone():
    generator, latent, x, rng = planted()
    mask = np.ones(x.shape, bool)
    mask[3, 4:] = False
    x_bad = x.copy()
    x_bad[5, 7] = np.nan
    x_bad[6, 9], mask[6, 9] = np.nan, False  # not observed: harmless
    found = jaxinv.invert(generator, x_bad, mask=mask)
    expected = np.full(12, Status.SOLVED)
    expected[3], expected[5] = Status.UNDERDETERMINED, Status.BAD_INPUT
    np.testing.assert_array_equal(found.status, expected)
    assert int(np.asarray(found.undetermined)[3]) == 2
    good = expected == Status.SOLVED
    assert recovery_error(found.latent, latent)[good].max() < 1e-9

    a = rng.standard_normal((25, 100))
    y = x @ a.T
    y_bad = np.where(np.arange(12)[:, None] == 5, np.nan, y)
    clean, damaged = (jaxinv.invert(generator, rows, operator=a) for rows in (y, y_bad))
    assert int(damaged.status[5]) == Status.BAD_INPUT
    others = np.arange(12) != 5
    np.testing.assert_array_equal(
        np.asarray(clean.latent)[others], np.asarray(damaged.latent)[others]
    )


@pytest.mark.parametrize(
    ("operator", "sentence"),
    [
        (np.ones((25, 99)), "expected \\(25, 100\\)"),
        (np.full((25, 100), np.nan), "NaN"),
        ((lambda v: v[:25], lambda v: np.r_[v, np.ones(75)]), "adjoint does not match"),
        ((lambda v: v[:24], lambda v: np.r_[v, np.zeros(75)]), "maps shape"),
        ("gaussian", "expected a matrix"),
    ],
)
def test_operators_that_do_not_fit_are_refused(operator, sentence):
    generator, _, x, _ = planted()
    with pytest.raises(ValueError, match=sentence):
        jaxinv.invert(generator, x[:, :25], operator=operator)


def test_what_cannot_be_undone_layer_by_layer_is_refused():
    generator, _, x, rng = planted()
    a = rng.standard_normal((25, 100))
    with pytest.raises(ValueError, match="use method 'auto'"):
        jaxinv.invert(generator, x @ a.T, "linf", operator=a)
