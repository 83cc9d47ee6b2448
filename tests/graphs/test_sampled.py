"""Elements of large models: they are what the whole model gives, at the same tolerance, and lie everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models are PyTorch's")
from torch import nn  # noqa: E402 - as above

from convfuzz.graphs.graph import Graph  # noqa: E402
from convfuzz.graphs.parts import cost, is_by_member  # noqa: E402
from convfuzz.graphs.sampled import can_be_sampled, sample  # noqa: E402
from convfuzz.graphs.tracing import as_array, trace  # noqa: E402
from convfuzz.judging.numerics import Numerics  # noqa: E402


class Fused(nn.Module):
    """A convolution with a normalisation, a scale for each channel, and functions of single elements behind it."""

    def __init__(self, layer: nn.Module, channels: int) -> None:
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm2d(channels)
        self.scale = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Any) -> Any:
        """Compute it."""
        y = nn.functional.gelu(self.norm(self.layer(x)) * self.scale + 0.1)
        return torch.clamp(y - torch.tanh(y), max=2.0)


LAYERS = {
    "conv": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_sample_is_part_of_the_whole(name: str) -> None:
    """At each sampled element value and tolerance are those of the whole model, nearly: the number of taps on padding is counted alike."""
    torch.manual_seed(0)
    model = Fused(LAYERS[name](), 6).eval()
    x = torch.randn(2, 4, 19, 17)
    graph = trace(model, (x,))
    held = {parameter: as_array(tensor) for parameter, tensor in model.state_dict().items()}
    assert can_be_sampled(graph)
    (whole,) = graph.evaluate([x.numpy()], held, Numerics())
    found = sample(graph, x.numpy(), held, Numerics(), np.random.default_rng(0))
    np.testing.assert_allclose(found.right.value, found.of(whole.value), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.right.error, found.of(whole.error), rtol=1e-6)


def test_every_channel_border_and_residue_is_in_it() -> None:
    """In each axis of each channel there are both ends, and over the channels every residue modulo 2 … 64."""
    model = nn.Conv2d(1, 3, 3, padding=1)
    x = torch.randn(1, 1, 150, 140)
    graph = trace(model, (x,))
    held = {parameter: as_array(tensor) for parameter, tensor in model.state_dict().items()}
    places = sample(graph, x.numpy(), held, Numerics(), np.random.default_rng(0)).places
    for channel in range(3):
        for axis, size in ((2, 150), (3, 140)):
            indices = places[channel, :, axis]
            assert {0, 1, size - 2, size - 1} <= set(indices.tolist())
            for modulus in range(2, 65):
                assert len(np.unique(indices % modulus)) == modulus


def test_what_mixes_elements_is_not_sampled() -> None:
    """A pooling, a mean, or a parameter of each site makes a result depend on more than one element of the layer."""
    x = torch.randn(1, 4, 9, 9)
    for tail in (nn.MaxPool2d(2), nn.Softmax(1), nn.GroupNorm(2, 6), nn.Conv2d(6, 2, 1)):
        assert not can_be_sampled(trace(nn.Sequential(nn.Conv2d(4, 6, 3), tail).eval(), (x,)))


def by_member(model: nn.Module, *shape: int) -> bool:
    """Whether the members of a batch of 3 are computed each on their own."""
    graphs = [trace(model.eval(), (torch.randn(batch, *shape),)) for batch in (3, 1)]
    return is_by_member(*graphs, 3)


def test_members_are_judged_alone_only_where_they_are_computed_alone() -> None:
    """What goes along the batch makes its members depend on each other, and what goes along other axes does not."""
    along = {
        "softmax": lambda x: torch.softmax(x, 0),
        "mean": lambda x: x - x.mean(0, keepdim=True),
        "flip": lambda x: x.flip(0),
        "transpose": lambda x: x.transpose(0, 1).contiguous() * 2,
        "sort": lambda x: torch.sort(x, 0)[0],
        "cumsum": lambda x: torch.cumsum(x, 0),
        "topk": lambda x: torch.topk(x, x.shape[0], 0)[0],
        "roll": lambda x: torch.roll(x, 1, 0),
        "roll of all": lambda x: torch.roll(x, 1),
        "batch_norm": lambda x: nn.functional.batch_norm(x, None, None, training=True),
    }

    class Along(nn.Module):
        def __init__(self, how: str) -> None:
            super().__init__()
            self.how = how

        def forward(self, x: Any) -> Any:
            return along[self.how](x)

    class Within(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.roll(torch.sort(torch.cumsum(x, 1), 2)[0], 1, 2) + torch.topk(x, 6)[0]

    assert by_member(Within(), 3, 6)
    assert by_member(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Softmax(1)), 3, 6, 6)
    for how in along:
        assert not by_member(Along(how), 3, 6), how


def test_the_cost_counts_products() -> None:
    """A convolution costs its taps for each output element, a transposed one for each input element."""

    def products(layer: nn.Module, *shape: int) -> int:
        graph: Graph = trace(layer, (torch.randn(*shape),))
        return cost(graph)[0]

    assert products(nn.Conv2d(4, 6, 3, groups=2), 2, 4, 5, 5) == 2 * 6 * 3 * 3 * 2 * 9
    assert products(nn.ConvTranspose2d(4, 6, 3, stride=2), 2, 4, 5, 5) == 2 * 4 * 25 * 6 * 9
    assert products(nn.Linear(7, 5), 3, 7) == 3 * 5 * 7
