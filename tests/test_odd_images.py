"""The benchmark of odd images: areas against other ways to count them, and what it writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sklearn.metrics import roc_auc_score

from benchmarks import odd_images
from benchmarks.odd_curves import curve
from benchmarks.odd_encoder import trained
from benchmarks.roc import areas, difference, interval

RNG = np.random.default_rng(0)


def scores(m, n, ties=False):
    """Two scores of the same images, that agree in part."""
    shared = RNG.standard_normal(m + n)
    both = np.stack([shared, 0.7 * shared + 0.7 * RNG.standard_normal(m + n)])
    both[:, :m] += 0.8
    both = np.round(both) if ties else both
    return both[:, :m], both[:, m:]


@pytest.mark.parametrize("ties", [False, True])
def test_areas_are_those_of_scikit_learn_and_of_all_pairs(ties):
    odd, regular = scores(40, 60, ties)
    found = areas(odd, regular)
    truth = np.repeat([1, 0], [40, 60])
    for i in range(2):
        pairs = np.sign(odd[i][:, None] - regular[i]) / 2 + 0.5
        assert found.area[i] == pytest.approx(pairs.mean())
        assert found.area[i] == pytest.approx(roc_auc_score(truth, np.r_[odd[i], regular[i]]))
        # DeLong's variance, from the pairs themselves.
        want = pairs.mean(1).var(ddof=1) / 40 + pairs.mean(0).var(ddof=1) / 60
        assert found.covariance[i, i] == pytest.approx(want)


def test_the_covariance_is_that_of_repeated_draws():
    draws = np.stack([areas(*scores(60, 80)).area for _ in range(2000)])
    told = np.mean([areas(*scores(60, 80)).covariance for _ in range(50)], axis=0)
    # A variance of 2,000 draws is known to 3%, twice 1/sqrt(2000) being 4.5%.
    np.testing.assert_allclose(told, np.cov(draws.T), rtol=0.1)


def test_intervals_and_differences_are_normal_ones():
    found = areas(*scores(60, 80))
    low, high = interval(found, 0)
    assert (high - low) / 2 == pytest.approx(1.959964 * np.sqrt(found.covariance[0, 0]))
    apart, low, high = difference(found, 0, 1)
    assert apart == pytest.approx(found.area[0] - found.area[1])
    c = found.covariance
    want = 1.959964 * np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1])
    assert (high - low) / 2 == pytest.approx(want)
    assert difference(found, 0, 0) == (0.0, 0.0, 0.0)


def test_an_area_of_one_is_known_as_well_as_its_pairs_tell():
    odd, regular = np.arange(30.0)[None] + 100.0, np.arange(20.0)[None]
    low, high = interval(areas(odd, regular), 0)
    # Twenty pairs without a common image: with this area, all are told apart once in 40 times.
    assert high == 1.0 and low**20 == pytest.approx(0.025)


@pytest.mark.parametrize("ties", [False, True])
def test_a_curve_has_the_area_that_is_told(ties):
    odd, regular = scores(40, 60, ties)
    for which in range(2):
        corners = curve(odd[which], regular[which])
        area = np.trapezoid(corners["found"], corners["false alarms"])
        # The corners are rounded to four digits.
        assert area == pytest.approx(areas(odd, regular).area[which], abs=2e-4)


def test_odd_images_are_made_of_the_digits_own_pixels():
    images = RNG.random((5, 28, 28))
    for kind, made in odd_images.KINDS.items():
        odd = np.asarray(made(images, np.random.default_rng(0))).reshape(5, 28, 28)
        if kind in ("turned by 90 degrees", "mirrored") or "another order" in kind:
            same = np.sort(odd.reshape(5, -1)) == np.sort(images.reshape(5, -1))
            assert same.all(), kind
        assert not np.array_equal(odd, images)
        assert odd.min() >= 0.0 and odd.max() <= 1.0
    patches = odd_images.KINDS["patches in another order"](images, np.random.default_rng(0))
    own = {
        images[0, i : i + 7, j : j + 7].tobytes() for i in range(0, 28, 7) for j in range(0, 28, 7)
    }
    assert {
        patches[0, i : i + 7, j : j + 7].tobytes() for i in range(0, 28, 7) for j in range(0, 28, 7)
    } == own


def test_no_digit_is_of_two_parts():
    digits = odd_images.split(None, 256)
    parts = [{row.tobytes() for row in part} for part in digits[:3]]
    assert [len(part) for part in parts] == [85, 85, 85]
    assert not (parts[0] & parts[1] or parts[1] & parts[2] or parts[0] & parts[2])


def test_an_encoder_learns_the_codes_of_what_the_decoder_draws(capsys):
    import jaxinv

    generator = jaxinv.load_generator("mnist-vae-20-400-784")
    codes = np.random.default_rng(0).standard_normal((2200, 20))
    images = np.asarray(generator(codes))
    encoder = trained(images[:2000], 10)
    capsys.readouterr()
    # Of new codes it knows more than nothing, which a correlation of 0.1 would be by chance.
    new = encoder.codes(images[2000:])
    assert np.corrcoef(new.ravel(), codes[2000:].ravel())[0, 1] > 0.4
    shuffled = images[2000:].reshape(-1)[RNG.permutation(200 * 784)].reshape(200, 784)
    assert encoder.evidence(images[2000:]).mean() > encoder.evidence(shuffled).mean() + 100.0


def test_the_command_writes_what_it_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(odd_images, "KINDS", {"inverted": odd_images.KINDS["inverted"]})
    arguments = ["--quick", "--rows", "24", "--epochs", "1", "--out", str(tmp_path / "odd.json")]
    monkeypatch.setattr(sys, "argv", ["odd_images", *arguments])
    odd_images.main()
    assert "results:" in capsys.readouterr().out
    found = json.loads((tmp_path / "odd.json").read_text())
    assert found["regular"] == found["odd of each kind"] == 24
    assert found["machine"]["device"]
    assert found["kinds"]["inverted"]["inverter, residual"]["area"] > 0.9
    assert "which is not shipped" in found["encoder"]
    (picture := tmp_path / "odd.png").unlink()
    monkeypatch.setattr(sys, "argv", ["odd_images", "--plot", "--out", str(tmp_path / "odd.json")])
    odd_images.main()
    assert picture.read_bytes().startswith(b"\x89PNG")
