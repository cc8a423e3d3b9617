"""GeneratorInverter as scikit-learn and as arithmetic in NumPy judge it."""

import pickle
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv
from jaxinv import (
    Auto,
    FunctionGenerator,
    GaussianPrior,
    Generator,
    GeneratorInverter,
    Poisson,
)

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import (
    check_estimator,
    check_methods_sample_order_invariance,
    check_methods_subset_invariance,
)

G = Generator.random((3, 12, 40), seed=0)
RNG = np.random.default_rng(0)
Z = RNG.standard_normal((6, 3))
X = np.asarray(G(Z))
NOISY = X + 0.1 * RNG.standard_normal(X.shape)

# Every check that check_estimator makes of a transformer applies. Its checks of classifiers,
# regressors and clusterers are not made; array API input is checked where SCIPY_ARRAY_API is set.
EXPECTED_FAILED_CHECKS: dict[str, str] = {}


def principal(data):
    """The decoder of PCA with two components: what training on the data may give.

    Missing entries count as the mean of their column.
    """
    mean = np.nanmean(data, axis=0)
    _, _, axes = np.linalg.svd(np.where(np.isnan(data), 0.0, data - mean), full_matrices=False)
    # Few rows or columns have fewer axes.
    axes = np.concatenate([axes, np.eye(data.shape[1])])[:2]
    return Generator.from_layers([(axes.T, mean, "identity")])


def rectified(data):
    """A decoder with a hidden layer of ReLUs, whatever the data are."""
    return Generator.random((2, 8, data.shape[1]), seed=0)


@pytest.mark.filterwarnings("default")  # some of its checks warn by design
def test_scikit_learn_finds_no_fault():
    # Its checks bring data of many widths: the decoder is made in fit.
    results = check_estimator(
        GeneratorInverter(principal, "exact"),
        expected_failed_checks=EXPECTED_FAILED_CHECKS,
        on_fail=None,
    )
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert len(results) > 40


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "check", [check_methods_sample_order_invariance, check_methods_subset_invariance]
)
def test_a_rows_code_does_not_hang_on_its_company(check):
    check("GeneratorInverter", GeneratorInverter(rectified, "auto"))


def test_codes_and_images_are_those_of_invert():
    model = GeneratorInverter(G).fit(X)
    np.testing.assert_allclose(model.transform(X), Z, atol=1e-8)
    np.testing.assert_array_equal(model.transform(NOISY), jaxinv.invert(G, NOISY).latent)
    np.testing.assert_array_equal(model.inverse_transform(Z), X)
    assert model.invert(X).counts() == {jaxinv.Status.SOLVED: 6}
    assert model.get_feature_names_out().tolist() == [f"generatorinverter{i}" for i in range(3)]
    assert model.transform(X).dtype == model.inverse_transform(Z).dtype == np.float64


def test_an_affine_decoder_scores_as_pca_reconstructs():
    from sklearn.decomposition import PCA

    data = RNG.standard_normal((30, 6)) @ RNG.standard_normal((6, 6))
    pca = PCA(2).fit(data)
    error = ((data - pca.inverse_transform(pca.transform(data))) ** 2).sum(1)
    model = GeneratorInverter(principal, "exact").fit(data)
    np.testing.assert_allclose(model.score_samples(data), -error, rtol=1e-8)


def test_it_stands_in_pipelines_searches_and_frames():
    import pandas as pd

    pipe = make_pipeline(FunctionTransformer(), GeneratorInverter(G, "exact"), StandardScaler())
    codes = pipe.fit_transform(X)
    np.testing.assert_allclose(codes.std(0), np.ones(3))
    framed = GeneratorInverter(G, "exact").set_output(transform="pandas").fit(X).transform(X)
    assert isinstance(framed, pd.DataFrame)
    assert framed.columns.tolist() == [f"generatorinverter{i}" for i in range(3)]
    search = GridSearchCV(GeneratorInverter(G), {"method": ["exact", "linf"]}, cv=2).fit(X)
    assert search.best_params_["method"] in ("exact", "linf")


def test_a_failed_row_is_nan_and_harms_no_other():
    flat = Generator.from_layers([(np.ones((4, 1)), None, "identity")])
    x = np.ones((3, 4))
    x[1] = 1e300  # its square overflows
    model = GeneratorInverter(flat).fit(x)
    assert np.isfinite(model.transform(x)).all(1).tolist() == [True, False, True]
    assert np.isnan(model.score_samples(x)).tolist() == [False, True, False]
    assert np.isnan(model.inverse_transform(model.transform(x))).all(1).tolist() == [
        False,
        True,
        False,
    ]
    scored = GeneratorInverter(flat, noise=1.0, prior=GaussianPrior()).fit(x).score_samples(x)
    assert np.isnan(scored).tolist() == [False, True, False]


def test_the_dtype_says_how_exactly_observations_are_known():
    model = GeneratorInverter(G).fit(X)
    x = X.astype(np.float32)
    assert model.invert(x).counts() == jaxinv.invert(G, x).counts() == {jaxinv.Status.SOLVED: 6}


def test_it_is_cloned_and_pickled_without_compiling_anew():
    function = FunctionGenerator(lambda z: jnp.sin(jnp.outer(z, jnp.arange(1.0, 6.0))), 2)
    model = GeneratorInverter(function, Auto(effort="fast"), noise=0.1, seed=3)
    copy = clone(model)
    assert copy.generator is function
    assert copy.get_params()["method"] == Auto(effort="fast")
    chain = GeneratorInverter(G, "exact").fit(X)
    read = pickle.loads(pickle.dumps(chain))
    np.testing.assert_array_equal(read.transform(X), chain.transform(X))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"generator": 3}, "generator is a int; expected a Generator, a FunctionGenerator, or a"),
        ({"generator": lambda data: data}, "generator gave a ndarray; expected a Generator, a"),
        ({"generator": Generator.random((2, 9), seed=0)}, "X has 40 features; the generator makes"),
        ({"method": "best"}, "method 'best' is not known"),
        ({"method": 3}, "method is a int; expected one of"),
        ({"noise": -1.0}, "noise must be positive and finite, a standard deviation"),
        ({"noise": np.ones(3)}, r"noise has shape \(3,\); expected one number or \(40,\)"),
        ({"noise": "much"}, "noise must be an array of real numbers"),
        ({"noise": Poisson(), "method": "exact"}, "noise=Poisson is for 'auto' and 'lm'"),
        ({"noise": Poisson(), "prior_weight": 1.0}, "the noise model weighs the prior"),
        ({"prior": GaussianPrior()}, "a prior needs noise=, the deviation of the observations"),
        ({"prior_weight": -1.0}, "prior_weight=-1.0 must be positive and finite"),
        (
            {"prior": GaussianPrior(scale=[1.0, 2.0]), "noise": 0.1},
            r"the prior's scale has shape \(2,\); the generator's latents have 3 entries",
        ),
    ],
)
def test_fit_says_what_does_not_fit(changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        GeneratorInverter(**{"generator": G} | changed).fit(X)


def test_other_bad_input_is_refused():
    model = GeneratorInverter(G).fit(X)
    with pytest.raises(ValueError, match="expecting 40 features"):
        model.transform(X[:, :7])
    with pytest.raises(ValueError, match="contains infinity"):
        model.transform(np.full((2, 40), np.inf))
    with pytest.raises(ValueError, match=r"noise=Poisson\(\) is of counts, and an observation"):
        GeneratorInverter(G, noise=Poisson()).fit(X).transform(-np.ones((2, 40)))
    with pytest.raises(ValueError, match=r"latent has shape \(6, 2\); expected \(3,\) or"):
        model.inverse_transform(Z[:, :2])
    for method in ("transform", "inverse_transform", "score_samples", "invert"):
        with pytest.raises(NotFittedError):
            getattr(GeneratorInverter(G), method)(X)


def test_without_scikit_learn_the_rest_is_there_and_it_says_what_to_install():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from jaxinv import *\n"
        "import jaxinv\n"
        "try: jaxinv.GeneratorInverter(jaxinv.Generator.random((2, 8), seed=0))\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "GeneratorInverter needs scikit-learn: pip install 'jaxinv[sklearn]'" in said.stdout


def test_importing_the_package_does_not_import_scikit_learn():
    code = "import sys, jaxinv; jaxinv.invert, jaxinv.plots; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
