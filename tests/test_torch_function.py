"""Any PyTorch module as a decoder: values and Jacobians are PyTorch's; the rest is refused."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinv

torch = pytest.importorskip("torch")
nn = torch.nn
functional = torch.nn.functional
K = 16


class Forward(nn.Module):
    """A module whose forward pass is a function of itself and the codes."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.body = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, z):
        return self.body(self, z)


def image(*parts):
    """Codes as 4 channels of 2 x 2 pixels, or what the first part makes of them."""
    return nn.Sequential(nn.Unflatten(1, (4, 2, 2)), *parts)


def large_image(*parts):
    return nn.Sequential(nn.Linear(K, 98), nn.Unflatten(1, (2, 7, 7)), *parts)


def each(*activations):
    """The outputs of several activations side by side."""
    return Forward(
        lambda self, z: torch.cat([f(z) for f in self.parts], 1), parts=nn.ModuleList(activations)
    )


def attention(self, z):
    x = self.embedding(torch.arange(4)) + z.reshape(-1, 4, 4)
    x = self.layer(x)
    heads = functional.scaled_dot_product_attention(x, x.flip(1), x)
    return self.attention(x, x, x)[0] + self.attention(x, x, x, need_weights=False)[0] + heads


class UNet(nn.Module):
    """Up, down with a skip, up again, with GroupNorm and two heads."""

    def __init__(self):
        super().__init__()
        self.first = nn.ConvTranspose2d(K, 8, 4)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(2, 6), nn.GroupNorm(4, 8)])
        self.down = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.out = nn.Conv2d(8, 2, 3, padding=1, padding_mode="reflect")

    def forward(self, z):
        low = torch.tanh(self.first(z[:, :, None, None]))
        high = functional.silu(self.norms[0](self.up(low)))
        low = functional.gelu(self.norms[1](self.down(high))) + low
        both = torch.cat([high, functional.interpolate(low, scale_factor=2)[:, :2]], 1)
        a, b = self.out(both).chunk(2, 1)
        return torch.sigmoid(a), b.exp()


def two_heads(self, z):
    a, b = self.net(z)
    return torch.cat([a, b], 1)


def pixel_norm(self, z):
    x = z * torch.rsqrt(torch.mean(z**2, dim=1, keepdim=True) + 1e-8)
    x = functional.normalize(self.linear(x), dim=1)
    return functional.leaky_relu(x, 0.2)


def moves(self, z):
    tokens = z.view(-1, 4, 4)
    return torch.cat(
        [
            z[:, 1::2],
            z.chunk(4, 1)[1] * z.split([3, 4, 9], 1)[1],
            tokens.permute(0, 2, 1).flatten(1)[:, :5],
            tokens.select(2, 1),
            tokens[:, [0, 3, 1], -1],
            torch.stack(tokens.unbind(1)[:2], -1).flatten(1),
            z[:, :1].expand(-1, 3),
            z.flip(1).roll(3, 1)[:, :4].repeat(1, 2),
            z.unfold(1, 4, 3).flatten(1),
            tokens.tril().sum(-1),
            functional.pad(z, (1, 2), value=0.5),
            functional.pad(z[:, None], (3, 2), mode="reflect")[:, 0],
            functional.pad(z[:, None], (1, 2), mode="replicate")[:, 0],
            z.cumsum(1) * torch.arange(K) / torch.linspace(1, 2, K, dtype=z.dtype),
            torch.meshgrid(torch.arange(3.0), torch.arange(2.0), indexing="ij")[0].reshape(1, -1)
            * z[:, :6],
            z.gather(1, torch.tensor([[2, 0, 1]]).expand(len(z), -1)),
            torch.diagonal(tokens, dim1=1, dim2=2),
            z.sort(1)[0],
        ],
        1,
    )


def in_place(self, z):
    x = z.clone()
    x[:, 3] = z[:, 0] ** 2
    x[:, 4:8] *= 2
    x[:, torch.tensor([9, 11])] = z[:, :2].sin()
    return x


def arithmetic(self, z):
    tokens = z.view(-1, 4, 4)
    positive = z.abs() + 0.1
    return torch.cat(
        [
            torch.add(z, z.flip(1), alpha=0.3) - 2 / positive,
            (3 - z).clamp(-1, 2.5),
            torch.where(z > 0.2, z.sin(), z.cos()) * z.detach().sign(),
            positive.log() + positive.sqrt() + positive**-1.5 + 2**z,
            z.exp().log1p() + torch.erf(z) + torch.atan2(z, positive),
            torch.maximum(z, z.roll(1, 1)) + torch.minimum(z, 0.5 * torch.ones(K)),
            torch.stack([z.mean(1), z.var(1), z.std(1), z.amax(1), z.min(1)[0], z.norm(dim=1)], 1),
            torch.stack([z.logsumexp(1), positive.prod(1), z.abs().sum(1), z.norm(p=3, dim=1)], 1),
            torch.einsum("bij,bkj->bik", tokens, tokens).flatten(1),
            torch.matmul(tokens, self.linear.weight[:4, :4].T).flatten(1),
            torch.bmm(tokens, tokens).flatten(1),
            torch.baddbmm(tokens, tokens, tokens, beta=0.5).flatten(1),
        ],
        1,
    )


def convolutions(n):
    """Transposed and plain ones in n dimensions with every setting, down to a vector."""
    conv, up = getattr(nn, f"Conv{n}d"), getattr(nn, f"ConvTranspose{n}d")
    return nn.Sequential(
        nn.Unflatten(1, (4, *{1: (4,), 2: (2, 2), 3: (1, 2, 2)}[n])),
        up(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        up(6, 4, 2, stride=1, dilation=2, bias=False),
        nn.Tanh(),
        conv(4, 6, 2, stride=2, padding=1, groups=2),
        conv(6, 3, 3, dilation=2, padding="same"),
    )


LEAKY = [nn.ReLU(), nn.LeakyReLU(0.1), nn.PReLU(init=0.2), nn.PReLU(K), nn.ReLU6(), nn.Hardtanh()]
SMOOTH = [nn.Tanh(), nn.Sigmoid(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.ELU(0.7), nn.SELU()]
OTHER = [nn.Softplus(), nn.Softplus(2.0, 1.0), nn.Mish(), nn.CELU(), nn.Hardswish(), nn.Softsign()]
LAST = [nn.Hardsigmoid(), nn.LogSigmoid(), nn.Softshrink(), nn.Softmax(1), nn.LogSoftmax(1)]

MODULES = {
    "linear": lambda: nn.Sequential(nn.Linear(K, 8), nn.Linear(8, 20, bias=False)),
    "kinked activations": lambda: each(*LEAKY),
    "smooth activations": lambda: each(*SMOOTH),
    "other activations": lambda: each(*OTHER),
    "more activations": lambda: each(*LAST),
    "convolutions 1d": lambda: convolutions(1),
    "convolutions 2d": lambda: convolutions(2),
    "convolutions 3d": lambda: convolutions(3),
    "batch norm": lambda: nn.Sequential(
        nn.BatchNorm1d(K), nn.Unflatten(1, (4, 2, 2)), nn.BatchNorm2d(4)
    ),
    "norms": lambda: image(
        nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm((2, 2)), nn.Flatten(),
        nn.RMSNorm(K), nn.LayerNorm(K, elementwise_affine=False),
    ),
    "attention": lambda: Forward(
        attention,
        embedding=nn.Embedding(4, 4),
        layer=nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        attention=nn.MultiheadAttention(4, 2, batch_first=True),
    ),
    "pixel norm": lambda: Forward(pixel_norm, linear=nn.Linear(K, 12)),
    "pixel shuffle": lambda: image(nn.PixelShuffle(2), nn.Conv2d(1, 4, 2), nn.PixelUnshuffle(1)),
    "upsample": lambda: image(
        nn.Upsample(scale_factor=3), nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Upsample((5, 7), mode="bilinear", align_corners=True), nn.Upsample((9, 4)),
    ),
    "upsample cubic": lambda: image(nn.Upsample(scale_factor=2, mode="bicubic")),
    "upsample 3d": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 2, 2, 2)), nn.Upsample(scale_factor=2, mode="trilinear"),
        nn.Upsample(scale_factor=2),
    ),
    "pools": lambda: large_image(
        nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, 1, 1, count_include_pad=False),
        nn.AvgPool2d(2, 2, ceil_mode=True), nn.AdaptiveAvgPool2d(2),
    ),
    "pool cut short": lambda: large_image(nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    "adaptive": lambda: large_image(nn.AdaptiveAvgPool2d((3, 5))),
    "global pool": lambda: large_image(nn.AdaptiveAvgPool2d(1)),
    "max pool": lambda: large_image(nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, ceil_mode=True)),
    "moves": lambda: Forward(moves),
    "in place": lambda: Forward(in_place),
    "arithmetic": lambda: Forward(arithmetic, linear=nn.Linear(K, 4)),
    "u-net": lambda: Forward(two_heads, net=UNet()),
}  # fmt: skip


def built(name):
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def relative(found, expected):
    return np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", MODULES)
def test_values_and_jacobian_are_pytorchs(name):
    module = built(name)
    before = copy.deepcopy(module.state_dict())
    g = jaxinv.FunctionGenerator.from_torch(module, latent_size=K)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    double = copy.deepcopy(module).double()
    z = np.random.default_rng(1).standard_normal((5, K))
    with torch.no_grad():
        expected = double(torch.from_numpy(z)).numpy()
    assert g.observation_shape == expected.shape[1:]
    rows = expected.reshape(5, -1)
    assert relative(g(z), rows) < 1e-12
    single = jax.jit(lambda g, z: g.value(z))(g, jnp.asarray(z, jnp.float32))
    assert single.dtype == jnp.float32 and relative(single, rows) < 1e-5

    one = torch.from_numpy(z[0])
    jacobian = torch.autograd.functional.jacobian(lambda z: double(z[None]).flatten(), one).numpy()
    # PyTorch's own derivative of the hard sigmoid holds 1/6 in float32.
    assert relative(g.jacobian(z[0]), jacobian) < (1e-8 if name == "more activations" else 1e-11)


def test_float32_weights_are_kept_as_they_are():
    g = jaxinv.FunctionGenerator.from_torch(built("u-net"), latent_size=K)
    assert {a.dtype for a in g.arrays if jnp.issubdtype(a.dtype, jnp.floating)} == {
        np.dtype(np.float32)
    }


def test_a_decoder_survives_a_pickle():
    g = jaxinv.FunctionGenerator.from_torch(built("u-net"), latent_size=K)
    again = pickle.loads(pickle.dumps(g))
    z = np.ones(K)
    assert np.array_equal(again(z), g(z)) and repr(again) == repr(g)
    assert repr(g) == "FunctionGenerator(16 -> (2, 8, 8), Forward)"


def test_a_frozen_module_is_read_as_well():
    module = built("attention").requires_grad_(False)
    jaxinv.FunctionGenerator.from_torch(module, latent_size=K)


def test_far_out_codes_have_derivatives():
    """Branches that are not taken do not overflow."""
    module = each(nn.Softplus(), nn.SiLU(), nn.Mish(), nn.ELU(), nn.LogSigmoid()).eval()
    g = jaxinv.FunctionGenerator.from_torch(module, latent_size=2)
    z = jnp.asarray([900.0, -900.0], jnp.float32)
    value, back = jax.vjp(g.value, z)
    assert jnp.isfinite(back(jnp.ones_like(value))[0]).all()
    at_zero = Forward(lambda self, z: z.norm(dim=1, keepdim=True) + z).eval()
    jacobian = jaxinv.FunctionGenerator.from_torch(at_zero, latent_size=2).jacobian(np.zeros(2))
    assert np.array_equal(jacobian, np.eye(2))


def branch(self, z):
    return z if (z**2).sum() > -1 else -z


REFUSED = {
    "no module": (lambda: torch.tanh, "is a builtin_function_or_method; expected torch.nn.Module"),
    "training": (lambda: nn.Sequential(nn.Linear(K, 3)), "training mode; call module.eval"),
    "part in training": (
        lambda: half_trained(),
        "Sequential, 1 is in training mode",
    ),
    "other size": (lambda: nn.Linear(3, 5).eval(), r"does not map codes \(1, 16\)"),
    "random": (
        lambda: Forward(lambda self, z: z + torch.randn_like(z)).eval(),
        "draws random numbers",
    ),
    "branch": (lambda: Forward(branch).eval(), "cannot be exported: .*depend on values"),
    "tuple": (lambda: UNet().eval(), "returns a tuple; expected one tensor"),
    "squeezed": (
        lambda: Forward(lambda self, z: z.squeeze()).eval(),
        r"to the shape \(16,\); expected a first axis of length 1",
    ),
    "rows": (lambda: nn.Softmax(0).eval(), "a row of a batch differs"),
    "counter": (
        lambda: Forward(counted, calls=nn.Linear(1, 1)).eval(),
        "changes .* when it is called|cannot be exported",
    ),
    "complex": (
        lambda: Forward(lambda self, z: torch.fft.fft(z)).eval(),
        "returns torch.complex128 entries",
    ),
    "unknown": (
        lambda: nn.Sequential(nn.Linear(K, 4), Forward(lambda self, z: torch.digamma(z))).eval(),
        r"Sequential, 1 \(Forward\), uses aten.digamma.default, .*FunctionGenerator",
    ),
    "constant": (
        lambda: Forward(lambda self, z: torch.zeros(len(z), 3, dtype=z.dtype) + 1).eval(),
        "derivative of f is zero everywhere",
    ),
}


def counted(self, z):
    self.calls.weight.data += 1
    return z


def half_trained():
    module = nn.Sequential(nn.Linear(K, 3), nn.Dropout(0.5)).eval()
    module[1].train()
    return module


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        jaxinv.FunctionGenerator.from_torch(make(), latent_size=K)
