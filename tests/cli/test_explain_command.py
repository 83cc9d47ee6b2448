"""``convfuzz explain``: the founding questions, answered for plain, grouped and depthwise convolutions."""

from __future__ import annotations

import pytest

from .conftest import Call


def explained(call: Call, case: str) -> str:
    """Return what ``explain`` prints of a case on the reference."""
    called = call("explain", case, "--backend", "reference")
    assert called.status == 0, called.stderr
    return called.stdout


def test_plain_layer_answers_the_founding_questions(call: Call) -> None:
    """``Conv2d(3, 10, 3)``: ten kernels, each over all three channels, summed into one map each, maps concatenated."""
    text = explained(call, "conv2d_c3_o10_i8_k3_f32")
    for answer in (
        "10 kernels, one per output channel, each of shape (3, 3, 3): 3 input channels × 3×3 taps = 27 weights",
        "weight of shape (10, 3, 3, 3), 270 numbers",
        "every kernel sees all 3 input channels",
        "3 per-channel results, which are summed into one activation map (not concatenated)",
        "the 10 maps are concatenated along the channel axis",
        "height: floor((8 + 0 + 0 − 1·(3 − 1) − 1) / 1) + 1 = 6",
    ):
        assert answer in text, text


def test_grouped_layer_names_the_channels_of_each_group(call: Call) -> None:
    """Groups are an exception to "all input channels", and which kernels see which channels is listed."""
    text = explained(call, "conv2d_c8_o16_g2_i8_k3_b_f32")
    for answer in (
        "16 kernels, one per output channel, each of shape (4, 3, 3)",
        "2 groups: each kernel sees the 4 channels of its group",
        "an exception to the rule that a kernel spans all input channels",
        "kernels 0 to 7: input channels 0 to 3",
        "kernels 8 to 15: input channels 4 to 7",
        "the kernel's bias is added to every element of its map",
    ):
        assert answer in text, text


def test_depthwise_layer_sums_nothing_across_channels(call: Call) -> None:
    """Each kernel of a depthwise layer sees one channel, with nothing to sum across channels."""
    text = explained(call, "conv2d_c4_o8_g4_i8_k3_f32")
    for answer in ("depthwise: each kernel sees one input channel", "kernels 2 to 3: input channel 1", "nothing to sum across channels"):
        assert answer in text, text


@pytest.mark.parametrize("case", ["conv2d_c3_o10_i8_k3_b_f32", "conv2d_c8_o16_g2_i8_k3_f32", "conv1d_c4_o4_g4_i9_k3_s2_p1_f32"])
def test_split_check_is_exact_on_integers(call: Call, case: str) -> None:
    """The table has a row per kernel, and each kernel on its own gives the layer's own map exactly on integers."""
    rows = [line.split() for line in explained(call, case).partition("The split check")[2].splitlines()]
    kernels = [row for row in rows if row and row[0].isdigit()]
    outputs = int(case.partition("_o")[2].partition("_")[0])
    assert [int(row[0]) for row in kernels] == list(range(outputs))
    assert {row[1] for row in kernels} == {"0"}
    assert ["all", "0", "0"] in rows


def test_default_backend_is_torch_where_it_is_installed(call: Call) -> None:
    """Without ``--backend`` the layer of the founding question is PyTorch's own."""
    pytest.importorskip("torch", reason="the default where it is installed")
    called = call("explain", "conv2d_c3_o10_i8_k3_f32")
    assert called.status == 0
    assert "torch on all kernels at once" in called.stdout


def test_invalid_convolution_is_explained_as_such(call: Call) -> None:
    """An invalid configuration is told which rule it breaks, and nothing is run."""
    text = explained(call, "conv2d_c2_o3_i2_k3_f32")
    assert "Not a valid convolution" in text
    assert "kernel extent 3 on axis 0 is larger than the padded input 2" in text
    assert "split check" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv2d_c3"], "has no out_channels"),
        (["conv2d_c3_o4_i5_k3_f32", "--backend", "nobody"], "unknown backend 'nobody'"),
        (["conv2d_c3_o4_i5_k3_f64", "--backend", "kernels.py::nothing"], "has no 'nothing'"),
        (
            ["conv2d_c3_o4_i5_k3_f32", "--backend", "kernels.py::only_double"],
            "kernels.py::only_double does not compute this case: dtype float32",
        ),
        (["conv2d_c3_o4_i5_k3_i8", "--backend", "kernels.py::only_double"], "dtype int8"),
    ],
)
def test_errors_exit_2(call: Call, arguments: list[str], message: str) -> None:
    """An unparsable case, an unknown backend, or one that does not compute the case exits 2 with the reason."""
    called = call("explain", *arguments)
    assert called.status == 2
    assert message in called.stderr
    assert "Traceback" not in called.stderr


def test_named_elements_are_shown_with_their_coordinates(call: Call) -> None:
    """A case of explicit data says where in the tensors its elements lie, also those of a gradient that the split does not need."""
    text = explained(call, "conv2d_c2_o1_i3_k1_f32_grad@x13=1_w1=-0.5_dy0=2")
    assert "Data\n  zeros, but for\n  x[0, 1, 1, 1] = 1\n  w[0, 1, 0, 0] = -0.5\n  dy[0, 0, 0, 0] = 2\n" in text
    assert "Data\n  zeros\n" in explained(call, "conv2d_c2_o1_i3_k1_f32@zeros")
    assert "Data" not in explained(call, "conv2d_c2_o1_i3_k1_f32@integers.1")
