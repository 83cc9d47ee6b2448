"""Ten problems with convolutions, right solutions of each, and wrong ones: what the judge has to tell apart.

Each is an ``__init__`` and a ``forward``, in the small sizes that tests use and in the ``large`` ones that people do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import dedent, indent

_FILE = '''\
import torch
from torch import nn
from torch.nn import functional as F

LAST = torch.channels_last


def coarse(v, bits=13):
    """Round to fewer bits, as tensor cores do: 13 of float32's 23 go for TF32, 16 for bfloat16."""
    half, mask = 1 << (bits - 1), -(1 << bits)
    return ((v.detach().contiguous().view(torch.int32) + half) & mask).view(torch.float32)


def without_a_tap(w):
    """Leave out the last tap of the last kernel."""
    w = w.detach().clone()
    w.view(w.shape[0], -1)[-1, -1] = 0
    return w


class {name}(nn.Module):
    def __init__(self{parameters}):
        super().__init__()
{init}

    def forward(self, x):
{forward}
'''
_INPUTS = """

def get_inputs():
    return [torch.rand{shape}]


def get_init_inputs():
    return {arguments}
"""


@dataclass(frozen=True)
class Problem:
    """A model, and other ways to write its ``forward``; ``declared`` says with which arithmetic a right one has to be judged."""

    parameters: str
    arguments: list[int]
    shape: tuple[int, ...]
    large: tuple[list[int], tuple[int, ...]]
    init: str
    forward: str
    right: Mapping[str, str]
    wrong: Mapping[str, str]

    def _of(self, name: str, forward: str) -> str:
        init, body = (indent(dedent(text).strip(), " " * 8) for text in (self.init, forward))
        return _FILE.format(name=name, parameters=f", {self.parameters}", init=init, forward=body)

    def source(self, *, large: bool = False) -> str:
        """Return the file of the problem."""
        arguments, shape = self.large if large else (self.arguments, self.shape)
        return self._of("Model", self.forward) + _INPUTS.format(shape=shape, arguments=arguments)

    def solution(self, forward: str) -> str:
        """Return the file of a solution."""
        return self._of("ModelNew", forward)


DECLARED = {"fft": "transform"}
"""The algorithm that the solutions of a name are declared to use."""

_FFT = """
n, c, h, w = x.shape
size = (h + 2 + 2, w + 2 + 2)
f = torch.einsum("nchw,ochw->nohw", torch.fft.rfft2(F.pad(x, (1, 1, 1, 1)), s=size), torch.fft.rfft2(self.conv.weight, s=size).conj())
return torch.fft.irfft2(f, s=size)[:, :, :h, :w].contiguous() + self.conv.bias[:, None, None]
"""

PROBLEMS = {
    "plain": Problem(
        "cin, cout, k", [5, 6, 3], (3, 5, 9, 8), ([64, 128, 3], (16, 64, 56, 56)),
        "self.conv = nn.Conv2d(cin, cout, k, padding=1)",
        "return self.conv(x)",
        {
            "channels-last": "return self.conv(x.contiguous(memory_format=LAST))",
            "split": "return torch.cat([F.conv2d(x, w[None], b[None], padding=1) for w, b in zip(self.conv.weight, self.conv.bias)], 1)",
            "unfolded": """
                y = self.conv.weight.flatten(1) @ F.unfold(x, 3, padding=1) + self.conv.bias[:, None]
                return y.view(x.shape[0], -1, x.shape[2], x.shape[3])
            """,
            "fft": _FFT,
        },
        {
            "no-bias": "return F.conv2d(x, self.conv.weight, None, padding=1)",
            "a-tap-missing": "return F.conv2d(x, without_a_tap(self.conv.weight), self.conv.bias, padding=1)",
            "tf32": "return F.conv2d(coarse(x), coarse(self.conv.weight), self.conv.bias, padding=1)",
            "last-column": "y = self.conv(x)\ny[..., -1] = y[..., -2]\nreturn y",
            "half-out": "return self.conv(x).half().float()",
        },
    ),
    "separable": Problem(
        "cin, cout, k", [6, 8, 3], (2, 6, 9, 9), ([128, 256, 3], (8, 128, 56, 56)),
        """
        self.depthwise = nn.Conv2d(cin, cin, k, padding=1, groups=cin, bias=False)
        self.pointwise = nn.Conv2d(cin, cout, 1)
        """,
        "return self.pointwise(F.relu6(self.depthwise(x)))",
        {
            "matmul": """
                y = F.relu6(self.depthwise(x)).flatten(2)
                return (self.pointwise.weight[:, :, 0, 0] @ y + self.pointwise.bias[:, None]).view(x.shape[0], -1, *x.shape[2:])
            """,
            "by-hand": """
                p, (h, w) = F.pad(x, (1, 1, 1, 1)), x.shape[2:]
                d = self.depthwise.weight
                y = sum(p[:, :, i:i + h, j:j + w] * d[:, 0, i, j, None, None] for i in range(3) for j in range(3))
                return self.pointwise(y.clamp(0, 6))
            """,
        },
        {
            "relu": "return self.pointwise(F.relu(self.depthwise(x)))",
            "flipped": "return self.pointwise(F.relu6(F.conv2d(x, self.depthwise.weight.flip(3), padding=1, groups=x.shape[1])))",
            "bfloat16-between": "return self.pointwise(F.relu6(self.depthwise(x)).bfloat16().float())",
            "no-bias": "return F.conv2d(F.relu6(self.depthwise(x)), self.pointwise.weight)",
        },
    ),
    "transposed-3d": Problem(
        "cin, cout, k", [4, 5, 3], (2, 4, 3, 4, 5), ([32, 16, 3], (8, 32, 16, 24, 24)),
        "self.conv = nn.ConvTranspose3d(cin, cout, k, stride=2, padding=1, output_padding=1)",
        "return self.conv(x)",
        {
            "by-channel": """
                c = self.conv
                y = sum(F.conv_transpose3d(x[:, i:i + 1], c.weight[i:i + 1], None, 2, 1, 1) for i in range(x.shape[1]))
                return y + c.bias[:, None, None, None]
            """,
            "zero-stuffed": """
                n, c, *size = x.shape
                z = x.new_zeros(n, c, *(2 * s - 1 for s in size))
                z[:, :, ::2, ::2, ::2] = x
                return F.conv3d(F.pad(z, (1, 2) * 3), self.conv.weight.flip(2, 3, 4).transpose(0, 1), self.conv.bias)
            """,
        },
        {
            "not-flipped": """
                n, c, *size = x.shape
                z = x.new_zeros(n, c, *(2 * s - 1 for s in size))
                z[:, :, ::2, ::2, ::2] = x
                return F.conv3d(F.pad(z, (1, 2) * 3), self.conv.weight.transpose(0, 1), self.conv.bias)
            """,
            "padded-low": """
                y = F.conv_transpose3d(x, self.conv.weight, self.conv.bias, 2, 1, 0)
                return F.pad(y, (0, 1) * 3, mode="replicate")
            """,
            "bias-where-data": """
                y = F.conv_transpose3d(x, self.conv.weight, None, 2, 1, 1)
                return torch.where(y != 0, y + self.conv.bias[:, None, None, None], y)
            """,
            "coarse-kernels": "return F.conv_transpose3d(x, coarse(self.conv.weight), self.conv.bias, 2, 1, 1)",
        },
    ),
    "dilated": Problem(
        "cin, cout", [4, 6], (2, 4, 12, 11), ([64, 64], (8, 64, 128, 128)),
        "self.conv = nn.Conv2d(cin, cout, (3, 5), padding=(2, 3), dilation=(2, 1), groups=2, stride=(1, 2))",
        "return F.leaky_relu(self.conv(x), 0.2)",
        {
            "by-group": """
                c = self.conv
                xs, ws, bs = x.chunk(2, 1), c.weight.chunk(2, 0), c.bias.chunk(2)
                y = torch.cat([F.conv2d(a, w, b, (1, 2), (2, 3), (2, 1)) for a, w, b in zip(xs, ws, bs)], 1)
                return torch.where(y > 0, y, 0.2 * y)
            """,
            "max-form": "y = self.conv(x)\nreturn torch.maximum(y, 0.2 * y)",
        },
        {
            "slope": "return F.leaky_relu(self.conv(x), 0.01)",
            "groups-swapped": "return F.leaky_relu(self.conv(torch.cat(x.chunk(2, 1)[::-1], 1)), 0.2)",
            "one-tap-closer": """
                w = self.conv.weight.detach().clone()
                w[:, :, :, 4] = w[:, :, :, 3]
                return F.leaky_relu(F.conv2d(x, w, self.conv.bias, (1, 2), (2, 3), (2, 1), 2), 0.2)
            """,
            "replicated-border": """
                p = F.pad(x, (3, 3, 2, 2), mode="replicate")
                return F.leaky_relu(F.conv2d(p, self.conv.weight, self.conv.bias, (1, 2), 0, (2, 1), 2), 0.2)
            """,
        },
    ),
    "norm-hardswish-pool": Problem(
        "cin, cout, k", [4, 6, 3], (3, 4, 10, 11), ([32, 64, 3], (16, 32, 112, 112)),
        "self.conv = nn.Conv2d(cin, cout, k)\nself.norm = nn.BatchNorm2d(cout)\nself.pool = nn.MaxPool2d(2)",
        "return self.pool(F.hardswish(self.norm(self.conv(x))))",
        {
            "folded": """
                s = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
                w, b = self.conv.weight * s[:, None, None, None], (self.conv.bias - self.norm.running_mean) * s + self.norm.bias
                return self.pool(F.hardswish(F.conv2d(x, w, b)))
            """,
            "by-hand": "y = self.norm(self.conv(x))\nreturn self.pool(y * torch.clamp(y + 3, 0, 6) / 6)",
        },
        {
            "no-mean": """
                n = self.norm
                y = F.batch_norm(self.conv(x), torch.zeros_like(n.running_mean), n.running_var, n.weight, n.bias)
                return self.pool(F.hardswish(y))
            """,
            "eps": """
                n = self.norm
                return self.pool(F.hardswish(F.batch_norm(self.conv(x), n.running_mean, n.running_var, n.weight, n.bias, eps=1e-3)))
            """,
            "of-the-batch": "n = self.norm\nreturn self.pool(F.hardswish(F.batch_norm(self.conv(x), None, None, n.weight, n.bias, True)))",
            "pool-first": "return F.hardswish(self.pool(self.norm(self.conv(x))))",
            "silu": "return self.pool(F.silu(self.norm(self.conv(x))))",
        },
    ),
    "3d-group-norm": Problem(
        "cin, cout, k", [3, 8, 3], (2, 3, 5, 6, 7), ([16, 32, 3], (8, 16, 16, 32, 32)),
        "self.conv = nn.Conv3d(cin, cout, k, padding=1)\nself.norm = nn.GroupNorm(4, cout)",
        "return F.avg_pool3d(F.silu(self.norm(self.conv(x))), 3, stride=2, padding=1)",
        {
            "by-hand": """
                y = self.conv(x)
                g = y.view(x.shape[0], 4, -1)
                mean = g.mean(2, keepdim=True)
                g = (g - mean) * torch.rsqrt((g * g).mean(2, keepdim=True) - mean * mean + 1e-5)
                y = g.view_as(y) * self.norm.weight[:, None, None, None] + self.norm.bias[:, None, None, None]
                return F.avg_pool3d(y * torch.sigmoid(y), 3, stride=2, padding=1)
            """,
            "sliced": """
                y = F.silu(self.norm(self.conv(x)))
                return torch.cat([F.avg_pool3d(y[:, i:i + 1], 3, 2, 1) for i in range(y.shape[1])], 1)
            """,
        },
        {
            "without-padding": "return F.avg_pool3d(F.silu(self.norm(self.conv(x))), 3, stride=2, padding=1, count_include_pad=False)",
            "by-channel": """
                y = F.instance_norm(self.conv(x), weight=self.norm.weight, bias=self.norm.bias)
                return F.avg_pool3d(F.silu(y), 3, stride=2, padding=1)
            """,
            "unbiased": """
                y = self.conv(x)
                g = y.view(x.shape[0], 4, -1)
                g = (g - g.mean(2, keepdim=True)) / torch.sqrt(g.var(2, keepdim=True) + 1e-5)
                y = g.view_as(y) * self.norm.weight[:, None, None, None] + self.norm.bias[:, None, None, None]
                return F.avg_pool3d(F.silu(y), 3, stride=2, padding=1)
            """,
            "no-affine": "return F.avg_pool3d(F.silu(F.group_norm(self.conv(x), 4)), 3, stride=2, padding=1)",
        },
    ),
    "to-one-number": Problem(
        "cin, cout, k", [3, 8, 3], (3, 3, 7, 8), ([32, 64, 3], (16, 32, 64, 64)),
        "self.conv = nn.ConvTranspose2d(cin, cout, k, stride=2)\nself.offset = nn.Parameter(torch.randn(cout, 1, 1))",
        "return 10 * torch.logsumexp((torch.tanh(self.conv(x)) - self.offset).mean((2, 3)), dim=1, keepdim=True)",
        {
            "by-hand": """
                y = (torch.tanh(self.conv(x)).sum((2, 3)) / ((2 * x.shape[2] + 1) * (2 * x.shape[3] + 1))) - self.offset[:, 0, 0]
                return 10 * torch.log(torch.exp(y).sum(1, keepdim=True))
            """,
            "by-sigmoid": """
                y = (2 * torch.sigmoid(2 * self.conv(x)) - 1).mean((2, 3)) - self.offset[:, 0, 0]
                return torch.logsumexp(y, 1, keepdim=True) * 10
            """,
        },
        {
            "sum-of-nine": "return 9.99 * torch.logsumexp((torch.tanh(self.conv(x)) - self.offset).mean((2, 3)), dim=1, keepdim=True)",
            "crude-tanh": """
                y = self.conv(x)
                t = torch.clamp(y * (27 + y * y) / (27 + 9 * y * y), -1, 1)
                return 10 * torch.logsumexp((t - self.offset).mean((2, 3)), dim=1, keepdim=True)
            """,
            "tanh-of-mean": "return 10 * torch.logsumexp(torch.tanh(self.conv(x).mean((2, 3))) - self.offset[:, 0, 0], 1, keepdim=True)",
            "added": "return 10 * torch.logsumexp((torch.tanh(self.conv(x)) + self.offset).mean((2, 3)), dim=1, keepdim=True)",
        },
    ),
    "residual-1d": Problem(
        "channels, k", [6, 5], (3, 6, 17), ([128, 5], (16, 128, 1024)),
        "self.conv = nn.Conv1d(channels, channels, k, padding=2)\nself.norm = nn.LayerNorm(channels)",
        "y = x + F.gelu(self.conv(x))\nreturn self.norm(y.transpose(1, 2)).transpose(1, 2)",
        {
            "by-hand": """
                c = self.conv(x)
                y = x + 0.5 * c * (1 + torch.erf(c * 0.7071067811865476))
                mean = y.mean(1, keepdim=True)
                z = (y - mean) / torch.sqrt(((y - mean) ** 2).mean(1, keepdim=True) + 1e-5)
                return z * self.norm.weight[:, None] + self.norm.bias[:, None]
            """,
            "as-2d": """
                y = x + F.gelu(F.conv2d(x[:, :, None], self.conv.weight[:, :, None], self.conv.bias, padding=(0, 2))[:, :, 0])
                return self.norm(y.mT).mT
            """,
        },
        {
            "gelu-by-tanh": "y = x + F.gelu(self.conv(x), approximate='tanh')\nreturn self.norm(y.transpose(1, 2)).transpose(1, 2)",
            "no-residual": "return self.norm(F.gelu(self.conv(x)).transpose(1, 2)).transpose(1, 2)",
            "eps": "y = x + F.gelu(self.conv(x))\nn = self.norm\nreturn F.layer_norm(y.mT, (x.shape[1],), n.weight, n.bias, 1e-6).mT",
            "a-tap-missing": """
                y = x + F.gelu(F.conv1d(x, without_a_tap(self.conv.weight), self.conv.bias, padding=2))
                return self.norm(y.mT).mT
            """,
        },
    ),
    "instance-norm": Problem(
        "cin, cout, k", [4, 6, 3], (2, 4, 10, 9), ([64, 64, 3], (8, 64, 128, 128)),
        "self.conv = nn.Conv2d(cin, cout, k, padding=1, padding_mode='reflect')\nself.norm = nn.InstanceNorm2d(cout)",
        "return torch.clamp(self.norm(self.conv(x)) / 2 + 0.5, 0.0, 1.0)",
        {
            "by-hand": """
                y = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.conv.weight, self.conv.bias)
                z = (y - y.mean((2, 3), keepdim=True)) * torch.rsqrt(y.var((2, 3), unbiased=False, keepdim=True) + 1e-5)
                return (z * 0.5 + 0.5).clamp(0, 1)
            """,
            "without-the-bias": """
                y = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.conv.weight)
                return torch.clamp(self.norm(y) / 2 + 0.5, 0.0, 1.0)
            """,
        },
        {
            "zero-padding": """
                y = F.conv2d(x, self.conv.weight, self.conv.bias, padding=1)
                return torch.clamp(self.norm(y) / 2 + 0.5, 0.0, 1.0)
            """,
            "to-0.99": "return torch.clamp(self.norm(self.conv(x)) / 2 + 0.5, 0.0, 0.99)",
            "unbiased": """
                y = self.conv(x)
                z = (y - y.mean((2, 3), keepdim=True)) * torch.rsqrt(y.var((2, 3), keepdim=True) + 1e-5)
                return (z * 0.5 + 0.5).clamp(0, 1)
            """,
            "no-eps": """
                y = self.conv(x)
                z = (y - y.mean((2, 3), keepdim=True)) * torch.rsqrt(y.var((2, 3), unbiased=False, keepdim=True))
                return (z * 0.5 + 0.5).clamp(0, 1)
            """,
        },
    ),
    "classifier": Problem(
        "cin, cout, classes", [3, 8, 5], (3, 3, 11, 12), ([3, 64, 1000], (16, 3, 224, 224)),
        "self.conv = nn.Conv2d(cin, cout, 7, stride=2, padding=3)\nself.head = nn.Linear(cout, classes)",
        "return torch.softmax(self.head(F.adaptive_avg_pool2d(F.mish(self.conv(x)), 1).flatten(1)), dim=1)",
        {
            "by-hand": """
                y = self.conv(x)
                y = (y * torch.tanh(torch.log1p(torch.exp(-y.abs())) + y.clamp(min=0))).mean((2, 3))
                z = y @ self.head.weight.T + self.head.bias
                e = torch.exp(z - z.max(1, keepdim=True)[0])
                return e / e.sum(1, keepdim=True)
            """,
            "split": """
                y = sum(F.conv2d(x[:, i:i + 1], self.conv.weight[:, i:i + 1], stride=2, padding=3) for i in range(x.shape[1]))
                y = F.mish(y + self.conv.bias[:, None, None])
                return F.softmax(self.head(y.mean((2, 3))), 1)
            """,
        },
        {
            "silu": "return torch.softmax(self.head(F.silu(self.conv(x)).mean((2, 3))), dim=1)",
            "no-head-bias": "return torch.softmax(F.mish(self.conv(x)).mean((2, 3)) @ self.head.weight.T, dim=1)",
            "no-last-row": "return torch.softmax(self.head(F.mish(self.conv(x))[:, :, :-1].mean((2, 3))), dim=1)",
            "bfloat16": """
                y = F.conv2d(coarse(x, 16), coarse(self.conv.weight, 16), self.conv.bias, 2, 3)
                return torch.softmax(self.head(F.mish(y).mean((2, 3))), 1)
            """,
        },
    ),
}  # fmt: skip
"""The problems by name."""
