"""The judge of the honesty benchmark: what is true passes, and every wrong answer is caught."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy import stats

import jaxinv

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import honesty
from benchmarks import honesty_judge as judge
from benchmarks import honesty_oracle as oracle
from benchmarks import honesty_problems as problems
from benchmarks import honesty_rates as rates

RNG = np.random.default_rng(0)


def chain(widths, activation="leaky_relu", last="identity", seed=0):
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(widths))
    names = [activation] * (len(pairs) - 1) + [last]
    return [
        oracle.Affine(
            rng.standard_normal((n, k)) / np.sqrt(k),
            rng.standard_normal(n),
            name,
            0.1 * (name == "leaky_relu"),
        )
        for (k, n), name in zip(pairs, names, strict=True)
    ]


def row(layers, truth, noise="none", error=0.0):
    x = oracle.image(layers, truth) + error
    seen = np.ones(len(x), bool)
    rounding = float(np.linalg.norm(oracle.rounding(layers, truth)[-1]))
    return judge.Row(
        layers, x, seen * 1.0, seen, truth, rounding, noise != "pure noise", noise, 0, 0.0
    )


def said(one, latent, **other):
    """A truthful word on `latent`, but for what is planted."""
    residual = float(np.linalg.norm(oracle.image(one.layers, latent) - one.x))
    k = len(latent)
    told = judge.Told(latent, 0, 0, residual, None, None, None, None, None, (False, False))
    reliable = {"reliable": True, "low": latent - 1.0, "high": latent + 1.0}
    intervals = reliable if other.pop("intervals", False) else {}
    assert k == len(one.truth)
    return told._replace(**intervals)._replace(**other)


def wrong(one, told):
    verdicts, _ = judge.judged(one, told, 0)
    return {name for name, against in verdicts.items() if against} - set(judge.SHARES)


def asked(one, told):
    return set(judge.judged(one, told, 0)[0])


class TestOracle:
    MAPS: ClassVar = [
        (False, (2, 3, 3), (3, 6), 2, 1),
        (False, (2, 3, 3, 3), (3, 4, 4), 1, 1),
        (True, (3, 2, 4), (3, 5), 2, 1),
        (True, (3, 2, 4, 4), (3, 3, 3), 2, 1),
    ]

    @pytest.mark.parametrize(("transposed", "kernel", "images", "stride", "padding"), MAPS)
    def test_convolutions_are_those_of_jaxinv(self, transposed, kernel, images, stride, padding):
        values = RNG.standard_normal(kernel)
        kind = jaxinv.TransposedConvolution if transposed else jaxinv.Convolution
        linear = kind(values, images, stride, padding)
        theirs = jaxinv.Generator.from_layers([(linear, None, "identity")]).layers[0].weight
        ours = oracle.convolution_matrix(values, images, stride, padding, transposed)
        np.testing.assert_allclose(ours, np.asarray(theirs), rtol=1e-14)

    @pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "identity"])
    def test_jacobian_by_differences(self, activation):
        layers = chain((3, 7, 9), activation, activation)
        z, step = RNG.standard_normal(3), 1e-6
        units = step * np.eye(3)
        differences = (oracle.image(layers, z + units) - oracle.image(layers, z - units)) / 2 / step
        # Second differences are of order step^2, rounding of order 1e-16 / step.
        np.testing.assert_allclose(oracle.jacobian(layers, z), differences.T, atol=1e-8)

    def test_rounding_bounds_what_more_digits_show(self):
        layers = chain((5, 30, 40), "tanh")
        z = RNG.standard_normal(5)
        fine = z.astype(np.longdouble)
        for layer in layers:
            u = layer.matrix.astype(np.longdouble) @ fine + layer.bias
            fine = np.tanh(u) if layer.activation == "tanh" else u
        off = np.abs(oracle.image(layers, z) - fine)
        assert (off <= oracle.rounding(layers, z)[-1]).all()

    def test_ranks(self):
        layers = chain((3, 8, 12))
        z, seen = RNG.standard_normal(3), np.ones(12, bool)
        dead = [layers[0]._replace(bias=layers[0].bias - 100.0, activation="relu", slope=0.0)]
        near = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-10]])
        doubtful = [oracle.Affine(near, np.zeros(2), "identity")]
        assert oracle.rank(layers, z, seen)[:2] == (3, True)
        assert oracle.rank(layers, z, np.arange(12) < 2)[:2] == (2, True)
        assert oracle.rank([*dead, layers[1]], z, seen).rank == 0
        assert not oracle.rank(doubtful, np.ones(2), np.ones(2, bool)).clear

    def test_a_better_fit_is_found(self):
        layers = chain((2, 20, 30), "tanh")
        truth = np.array([0.4, -0.3])
        fit = oracle.best_fit(layers, oracle.image(layers, truth), np.ones(30), [truth + 0.1])
        np.testing.assert_allclose(fit.latent, truth, atol=1e-9)

    def test_width_of_a_preimage(self):
        # relu(z1), relu(z2): z2 is free below 0, within ten times ||z||.
        layers = [oracle.Affine(np.eye(2), np.zeros(2), "relu")] * 2
        z, seen, rng = np.array([1.0, -2.0]), np.ones(2, bool), np.random.default_rng(0)
        size = np.linalg.norm(z)
        width = oracle.preimage_width(layers, z, seen, rng)
        assert width == pytest.approx(10.0 + 2.0 / size, rel=1e-6)
        assert oracle.preimage_width(layers, np.array([1.0, 2.0]), seen, rng) == 0.0
        # A second unit that darkens at z2 = -2.1 cuts the polytope off there.
        cut = oracle.Affine(np.array([[1, 0], [0, 1], [0, 1]]), np.array([0, 0, 2.1]), "relu")
        ending = oracle.Affine(np.array([[1.0, 0, 0], [0, 1.0, 0]]), np.zeros(2), "identity")
        width = oracle.preimage_width([cut, ending], z, seen, rng)
        assert width == pytest.approx(2.1 / size, rel=1e-6)
        curved = [oracle.Affine(np.eye(2), np.zeros(2), "tanh")] * 2
        assert oracle.preimage_width(curved, z, seen, rng) is None


class TestPlanted:
    """One wrong word a test; the same row told truly is not caught."""

    def test_the_truth_passes(self):
        layers = chain((3, 12, 20))
        one = row(layers, RNG.standard_normal(3))
        told = said(one, one.truth, unique=(True, True))
        assert not wrong(one, told)
        assert {
            "status contradicts itself",
            "residual is another",
            "free directions missed",
            "another preimage of a unique one",
            "latent error above what is allowed, the data tell the code",
        } <= asked(one, told)

    def test_a_latent_that_is_off(self):
        one = row(chain((3, 12, 20)), np.array([1.0, -0.5, 0.2]))
        name = "latent error above what is allowed, the data tell the code"
        assert wrong(one, said(one, one.truth + 0.01)) >= {name}
        assert wrong(one, said(one, one.truth + 0.01, allowed_error=1e-6)) >= {name}
        assert name not in wrong(one, said(one, one.truth + 0.01, allowed_error=0.1))

    def test_another_residual(self):
        one = row(chain((3, 12, 20)), np.array([1.0, -0.5, 0.2]))
        assert wrong(one, said(one, one.truth, residual=1e-9)) == {"residual is another"}

    @pytest.mark.parametrize(
        "planted",
        [{"status": 1}, {"undetermined": 1}, {"status": 5}, {"status": 6}, {"residual": np.nan}],
    )
    def test_words_that_contradict_each_other(self, planted):
        one = row(chain((3, 12, 20)), np.array([1.0, -0.5, 0.2]))
        assert "status contradicts itself" in wrong(one, said(one, one.truth, **planted))

    def test_nan_that_is_solved(self):
        one = row(chain((3, 12, 20)), np.array([1.0, -0.5, 0.2]))
        assert wrong(one, said(one, np.full(3, np.nan))) == {"status contradicts itself"}

    def test_free_directions(self):
        layers = [oracle.Affine(np.array([[1.0, 1.0], [2.0, 2.0]]), np.zeros(2), "identity")]
        one = row(layers, np.array([1.0, 2.0]))
        other = np.array([1.5, 1.5])
        assert wrong(one, said(one, other)) == {"free directions missed"}
        assert not wrong(one, said(one, other, status=1, undetermined=1))
        assert "another preimage of a unique one" in wrong(
            one, said(one, other, status=1, undetermined=1, unique=(True, False))
        )

    def test_no_code_called_determined(self):
        layers = [oracle.Affine(np.array([[1.0, 1.0]] * 5), np.zeros(5), "identity")]
        one = row(layers, np.array([1.0, 2.0]), "Gaussian", 0.1 * RNG.standard_normal(5))
        name = "no code, called determined and reliable"
        assert name in wrong(one, said(one, one.truth, intervals=True))
        assert name not in wrong(one, said(one, one.truth, intervals=True, undetermined=1))

    def test_a_fit_that_is_not_the_best(self):
        layers = chain((2, 20, 30))
        one = row(layers, np.array([1.0, -0.5]), "Gaussian", 0.01 * RNG.standard_normal(30))
        best = oracle.best_fit(one.layers, one.x, one.weight, [one.truth])
        name = "a better fit than a SOLVED one"
        assert name in wrong(one, said(one, one.truth + 0.5))
        assert name in asked(one, said(one, best.latent)) - wrong(one, said(one, best.latent))
        assert name not in asked(one, said(one, one.truth + 0.5, status=2))

    def test_noise_that_is_solved(self):
        layers = chain((2, 20, 30), "tanh")
        one = row(layers, np.zeros(2), "pure noise", 3.0 * RNG.standard_normal(30))
        assert "made by no code, SOLVED" in wrong(one, said(one, one.truth))
        assert "made by no code, SOLVED" not in wrong(one, said(one, one.truth, status=2))

    def test_intervals(self):
        layers = chain((2, 20, 30), "identity")
        one = row(layers, np.array([1.0, -0.5]), "Gaussian", 0.01 * RNG.standard_normal(30))
        best = oracle.best_fit(one.layers, one.x, one.weight, [one.truth]).latent
        name = "outside its joint 99.9% region"
        told = said(one, best, intervals=True)
        assert judge.judged(one, told, 0)[0]["interval covers"] and not wrong(one, told)
        far = said(one, best + 10.0, intervals=True)
        assert not judge.judged(one, far, 0)[0]["interval covers"] and name in wrong(one, far)
        far = said(one, best + 10.0, intervals=True, reliable=False)
        assert "interval covers" not in asked(one, far) and name not in asked(one, far)

    def test_another_code_with_the_same_image_is_no_error(self):
        # |z| by two ReLUs: z and -z.
        layers = [
            oracle.Affine(np.array([[1.0], [-1.0]]), np.zeros(2), "relu"),
            oracle.Affine(np.ones((3, 2)), np.zeros(3), "identity"),
        ]
        one = row(layers, np.array([1.5]))
        verdicts, figures = judge.judged(one, said(one, np.array([-1.5])), 0)
        assert figures["another preimage"] and not any(verdicts.values())
        assert wrong(one, said(one, np.array([-1.5]), unique=(False, True))) == {
            "another preimage of a unique one"
        }


def test_intervals_of_rates():
    assert rates.clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert rates.clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))
    low, high = rates.clopper_pearson(3, 20)
    assert stats.binom.sf(2, 20, low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 20, high) == pytest.approx(0.025)


def test_a_problem_follows_from_its_number():
    kinds = set()
    for number in range(0, 40 * problems.NETS, problems.NETS):
        net = problems.draw_net(5, number)
        known = len(kinds)
        kinds |= {spec.kind for spec in net.shape.layers}
        if len(kinds) == known:
            continue
        z = np.random.default_rng(number).standard_normal((2, net.layers[0].matrix.shape[1]))
        # The oracle's net is the one that jaxinv is asked about.
        ours, theirs = oracle.image(net.layers, z), np.asarray(net.generator(True)(z))
        bound = [4 * oracle.rounding(net.layers, one)[-1] + 1e-300 for one in z]
        assert (np.abs(ours - theirs) <= bound).all()
    assert kinds == {"matrix", "transposed", "convolution"}
    first, again = problems.draw_batch(5, 3), problems.draw_batch(5, 3)
    np.testing.assert_array_equal(first.observation, again.observation)
    assert first.method == again.method and first.noise == again.noise


def test_a_small_run(tmp_path, monkeypatch, capsys):
    out = tmp_path / "honesty.json"
    arguments = ["honesty", "--problems", "32", "--seed", "89", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    honesty.main()
    found = json.loads(out.read_text())
    assert found["problems"] == 32 and sum(found["statuses"].values()) == 32
    assert found["rates"]["status contradicts itself"]["all"]["trials"] == 32
    for by_class in found["rates"].values():
        for told in by_class.values():
            low, high = told["interval"]
            assert low <= told["rate"] <= high and told["yes"] <= told["trials"]
    for failure in found["failures"]:
        assert failure["failed"] and failure["problem"] < 32 and failure["seed"] == 89
    assert "status contradicts itself" in capsys.readouterr().out


def test_what_is_raised_is_a_finding(monkeypatch):
    def broken(batch):
        raise RuntimeError("planted")

    monkeypatch.setattr(honesty, "told", broken)
    rows = honesty.records(1, 0)
    assert len(rows) == problems.ROWS
    assert all(honesty.failed(one) == ["exception"] for one in rows)
    assert rows[0]["figures"]["exception"] == "RuntimeError: planted"
