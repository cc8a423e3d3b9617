"""Generators from PyTorch agree with its own forward pass, or are refused by name."""

import numpy as np
import pytest

import jaxinv

torch = pytest.importorskip("torch")
nn = torch.nn


def decoder():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.BatchNorm1d(4),
        nn.Linear(4, 12),
        nn.BatchNorm1d(12),
        nn.LeakyReLU(0.2),
        nn.BatchNorm1d(12),
        nn.Dropout(0.5),
        nn.Linear(12, 18, bias=False),
        nn.ReLU(),
        nn.Unflatten(1, (2, 3, 3)),
        nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(147, 20),
        nn.Sigmoid(),
    )
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return net.eval()


class Written(nn.Module):
    """A forward pass in plain functions."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 8), nn.Linear(8, 16)

    def forward(self, z):
        h = torch.nn.functional.leaky_relu(self.fc1(z), 0.3)
        return torch.sigmoid(self.fc2(h)).view(-1, 4, 4).flatten(1)


@pytest.mark.parametrize("module", [decoder(), Written()], ids=["sequential", "functions"])
def test_a_module_and_its_generator_agree(module):
    generator = jaxinv.Generator.from_torch(module)
    z = np.random.default_rng(1).standard_normal((9, generator.latent_size))
    with torch.no_grad():
        expected = module(torch.from_numpy(z).float()).numpy()
    np.testing.assert_allclose(generator(z), expected, rtol=1e-4, atol=1e-5)
    assert next(module.parameters()).dtype == torch.float32
    assert next(module.parameters()).requires_grad


def test_linear_layers_without_an_activation_become_one():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5), nn.ReLU()).eval()
    assert jaxinv.Generator.from_torch(net).widths == (2, 5)


def on_images(*modules):
    """Behind a linear layer that makes images of 4 channels and 4 x 4 pixels."""
    return nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Unflatten(1, (4, 4, 4)), *modules).eval()


class Shapes(nn.Module):
    """Sizes asked for, constants, and functions on images."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 64)
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 3)])
        self.register_buffer("mean", torch.rand(2, 1, 1))

    def forward(self, z):
        f = nn.functional
        h = f.elu(self.fc(z) * 0.5).view(z.size(0), 4, 4, -1)
        h = f.interpolate(h, scale_factor=2, mode="nearest")
        for block in self.blocks:
            h = f.silu(block(f.pad(h, (1, 0, 0, 2))))
        h = f.interpolate(1.0 - h / 2, size=(7, 9), mode="bilinear", align_corners=False)
        h = f.avg_pool2d(f.gelu(h + self.mean), 2)
        return f.softplus(h.permute(0, 2, 3, 1)).reshape(h.shape[0], -1)


class Seeded(nn.Module):
    """A latent made an image by itself, as a DCGAN does."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(5, 3, 4, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean.normal_()

    def forward(self, z):
        return torch.tanh(self.norm(self.up(z.view(z.shape[0], -1, 1, 1))))


CONVOLUTIONAL = {
    "strides": on_images(
        nn.ConvTranspose2d(4, 6, (3, 4), stride=(3, 2), padding=(1, 0), output_padding=(2, 1)),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.Conv2d(6, 4, 3, stride=2, dilation=2, groups=2, padding=1),
        nn.BatchNorm2d(4),
        nn.Softplus(),
    ),
    "norm before": on_images(nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 3), nn.ELU()),
    "same": on_images(nn.Conv2d(4, 2, (3, 4), padding="same", dilation=(1, 2)), nn.GELU()),
    "valid": on_images(nn.Conv2d(4, 2, 2, padding="valid"), nn.Sigmoid()),
    "reflect": on_images(nn.Conv2d(4, 2, 3, padding=2, padding_mode="reflect")),
    "circular": on_images(nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), nn.Tanh()),
    "two in a row": on_images(nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1)),
    "shuffle": on_images(nn.Conv2d(4, 8, 1), nn.PixelShuffle(2), nn.ReLU(), nn.Tanh()),
    "up": on_images(
        nn.Upsample(scale_factor=3), nn.Conv2d(4, 1, 3), nn.Flatten(), nn.Linear(100, 7)
    ),
    "linear": on_images(nn.UpsamplingBilinear2d(scale_factor=2), nn.Conv2d(4, 1, 3, padding=1)),
    "fraction": on_images(nn.Upsample(scale_factor=1.6, mode="bilinear"), nn.BatchNorm2d(4)),
    "pools": on_images(
        nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AdaptiveAvgPool2d((3, 1))
    ),
    "pads": on_images(nn.ZeroPad2d((1, 0, -1, 2)), nn.ReplicationPad2d(1), nn.ReflectionPad2d(2)),
    "1d": nn.Sequential(
        nn.Linear(3, 20), nn.Unflatten(1, (4, 5)), nn.ReLU(), nn.ConvTranspose1d(4, 2, 3, 2)
    ),
    "3d": nn.Sequential(
        nn.Linear(3, 16), nn.Unflatten(1, (2, 2, 2, 2)), nn.ConvTranspose3d(2, 2, 2, 2), nn.ReLU()
    ),
    "nested": on_images(
        nn.Sequential(nn.Conv2d(4, 2, 1), nn.Sequential(nn.Dropout2d(), nn.ReLU()))
    ),
    "shapes": Shapes().eval(),
    "seeded": Seeded().eval(),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_modules_are_read_as_chains(name):
    module = CONVOLUTIONAL[name].double()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.weight, 0.5, 2.0)
    generator = jaxinv.Generator.from_torch(module)
    z = np.random.default_rng(1).standard_normal((5, generator.latent_size))
    with torch.no_grad():
        expected = module(torch.from_numpy(z)).reshape(5, -1).numpy()
    # Softplus is a line above 20 in PyTorch; the rest is rounding.
    np.testing.assert_allclose(generator(z), expected, rtol=1e-9, atol=1e-9)
    assert not any(layer.is_dense for layer in generator.layers[1:])


class Branch(nn.Module):
    def forward(self, z):
        return torch.relu(z) + z


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.start, self.block = nn.Linear(2, 4), nn.Linear(4, 4)

    def forward(self, z):
        h = self.start(z)
        return torch.relu(h + self.block(h))


class Divided(nn.Linear):
    def __init__(self):
        super().__init__(2, 3)
        self.inner = nn.Linear(2, 3)

    def forward(self, z):
        return 1.0 / self.inner(z)


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 3)

    def forward(self, z):
        return nn.functional.dropout(self.inner(z))


class Stretched(nn.Linear):
    def forward(self, z):
        return super().forward(z) * 1.01


def hooked():
    """Its layers say one thing and its forward pass does another."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    net[0].register_forward_hook(lambda module, inputs, output: output * 1.01)
    return net


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.Hardtanh()), "Hardtanh.*FunctionGenerator"),
        (nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU(-0.1)), "slope -0.1"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), "eval"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 3)), "begins with a linear"),
        (nn.Sequential(nn.Linear(2, 3), Branch()), "one chain"),
        (nn.Sequential(Stretched(2, 3), nn.ReLU()), "outside a known layer"),
        (hooked(), "differs from its own forward pass"),
        (nn.Sequential(nn.Linear(2, 3), nn.ELU(0.5)), "alpha=0.5"),
        (nn.Sequential(nn.Linear(2, 3), nn.Softplus(2.0)), "beta=2.0"),
        (nn.Sequential(nn.Linear(2, 3), nn.GELU("tanh")), "approximate='tanh'"),
        (on_images(nn.MaxPool2d(2)), "MaxPool2d.*FunctionGenerator"),
        (on_images(nn.Upsample(scale_factor=2, mode="bicubic")), "bicubic.*FunctionGenerator"),
        (on_images(nn.AvgPool2d(2, ceil_mode=True)), "rounds up"),
        (on_images(nn.ConstantPad2d(1, 3.0)), "zeros can be"),
        (on_images(nn.Linear(4, 4)), "put a Flatten before"),
        (on_images(nn.ConvTranspose2d(4, 1, 3, stride=8000)), "above the limits"),
        (on_images(nn.ReflectionPad2d(5)), "cannot be padded"),
        (on_images(nn.Upsample(scale_factor=5000)), "an axis has 1 to"),
        (nn.Sequential(nn.Linear(2, 3), nn.Conv2d(3, 2, 1)), "needs an image"),
        (Residual(), "one chain.*FunctionGenerator"),
        (Divided(), "divides by the layer's values"),
        (Dropped(), "training=self.training"),
        (
            nn.Sequential(nn.Unflatten(1, (2, 1, 1)), nn.ConvTranspose2d(3, 2, 4)),
            "needs 3 channels",
        ),
        ("decoder", "torch.nn.Module"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(module, sentence):
    with pytest.raises(ValueError, match=sentence):
        jaxinv.Generator.from_torch(module)
