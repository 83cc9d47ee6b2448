"""``convfuzz.c_kernel``: a C function is built, loaded, and called with pointers and a description of the layer."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import convfuzz
from convfuzz import Case, InvalidConfig
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.backends.kernels.c_kernel import HEADER
from convfuzz.backends.kernels.loading import load_kernel
from convfuzz.errors import BackendError

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")

DOCS = (Path(__file__).parents[2] / "docs" / "c-kernels.md").read_text()
(DIRECT,) = re.findall(r'SOURCE = r"""\n(#include "convfuzz_layer.h"\n.*?)"""', DOCS, re.DOTALL)

ANY_LAYOUT = r"""
#include "convfuzz_layer.h"

/* Any number of dimensions, groups, strides of memory, and transposed layers, by scattering. */
int scatter(const float *x, const float *w, const float *b, float *y, const struct convfuzz_layer *l)
{
    const int64_t *in = l->input_size, *out = l->output_size, *k = l->kernel_size;
    const int64_t outputs = l->out_channels / l->groups, inputs = l->in_channels / l->groups;
    const int64_t *big = l->transposed ? out : in, *few = l->transposed ? in : out;
    for (int64_t n = 0; n < l->batch; n++)
    for (int64_t o = 0; o < l->out_channels; o++)
    for (int64_t d = 0; d < out[0]; d++) for (int64_t h = 0; h < out[1]; h++) for (int64_t v = 0; v < out[2]; v++)
        y[n*l->y_stride[0] + o*l->y_stride[1] + d*l->y_stride[2] + h*l->y_stride[3] + v*l->y_stride[4]] = b ? b[o * l->b_stride] : 0;
    for (int64_t n = 0; n < l->batch; n++)
    for (int64_t o = 0; o < l->out_channels; o++)
    for (int64_t c = 0; c < inputs; c++)
    for (int64_t p = 0; p < few[0]; p++) for (int64_t q = 0; q < few[1]; q++) for (int64_t r = 0; r < few[2]; r++)
    for (int64_t i = 0; i < k[0]; i++) for (int64_t j = 0; j < k[1]; j++) for (int64_t m = 0; m < k[2]; m++) {
        const int64_t at[3] = {p * l->stride[0] + i * l->dilation[0] - l->padding_low[0],
                               q * l->stride[1] + j * l->dilation[1] - l->padding_low[1],
                               r * l->stride[2] + m * l->dilation[2] - l->padding_low[2]};
        const int64_t few_at[3] = {p, q, r};
        if (at[0] < 0 || at[0] >= big[0] || at[1] < 0 || at[1] >= big[1] || at[2] < 0 || at[2] >= big[2]) continue;
        const int64_t *xa = l->transposed ? few_at : at, *ya = l->transposed ? at : few_at;
        const int64_t channel = o / outputs * inputs + c;
        const int64_t wo = l->transposed ? o % outputs : o, wi = l->transposed ? channel : c;
        const int64_t first = l->transposed ? wi : wo, second = l->transposed ? wo : wi;
        y[n*l->y_stride[0] + o*l->y_stride[1] + ya[0]*l->y_stride[2] + ya[1]*l->y_stride[3] + ya[2]*l->y_stride[4]]
            += x[n*l->x_stride[0] + channel*l->x_stride[1] + xa[0]*l->x_stride[2] + xa[1]*l->x_stride[3] + xa[2]*l->x_stride[4]]
             * w[first*l->w_stride[0] + second*l->w_stride[1] + i*l->w_stride[2] + j*l->w_stride[3] + m*l->w_stride[4]];
    }
    return l->batch == 7;
}
"""
OPTIONS: dict[str, Any] = {"ops": ("conv", "conv_transpose"), "layouts": None, "out": "strided", "status": True}


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Keep what is built apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _cached(_own_cache: None) -> None:
    """Order the fixtures."""


LINES = [
    "conv1d_n2_c4_o6_g2_i9_k3_s2_p1_d2_b_f32@integers.1",
    "conv2d_n2_c4_o6_g2_i7x5_k3x2_s2x1_p1:0x0:2_f32@integers.1",
    "conv2d_n-_c3_o2_i7x5_k3_b_f32@integers.1",
    "conv3d_c2_o3_i5x4x3_k2x3x1_p1_b_f32@integers.1",
    "conv2d_n0_c2_o3_i5_k3_b_f32@integers.1",
    "convt2d_n2_c4_o6_g2_i4x5_k2x3_s2_p1_op1x0_b_f32@integers.1",
]


@pytest.mark.parametrize("axes", [{}, {"layout": "N...C", "weight_layout": "...IO"}])
@pytest.mark.parametrize("layout", ["", "_cl", "_nc", "_of", "_tr"])
@pytest.mark.parametrize("line", LINES)
def test_the_struct_describes_every_layer(line: str, layout: str, axes: dict[str, str]) -> None:
    """A function that goes by its sizes and strides alone computes every layer in every layout and order of axes."""
    kernel = convfuzz.c_kernel(ANY_LAYOUT, "scatter", **OPTIONS, **axes)
    (result,) = convfuzz.check(line.replace("@", f"{layout}@"), [kernel]).results
    assert result.verdict == "agree", result.reason


def test_a_status_that_is_not_0_is_an_error() -> None:
    """With ``status=True`` the function says that it has failed."""
    kernel = convfuzz.c_kernel(ANY_LAYOUT, "scatter", **OPTIONS)
    (result,) = convfuzz.check("conv1d_n7_c1_o1_i5_k2_f32", [kernel]).results
    assert (result.verdict, result.reason) == ("error", "RuntimeError: scatter returned 1")


def test_a_file_beside_the_kernel_is_built_and_found_by_name(tmp_path: Path) -> None:
    """A path is relative to the file that names it; headers beside the source are found, and what they say counts."""
    (tmp_path / "direct.c").write_text(f'#include "factor.h"\n{DIRECT.replace("= sum;", "= FACTOR * sum;")}')
    (tmp_path / "factor.h").write_text("#define FACTOR 1\n")
    file = tmp_path / "kernel_of_a_file.py"
    for factor, verdict in ((1, "agree"), (2, "wrong")):
        (tmp_path / "factor.h").write_text(f"#define FACTOR {factor}\n")
        file.write_text('import convfuzz\ndirect = convfuzz.c_kernel("direct.c", "direct", dims=(1, 2))\n')
        backend = load_kernel(f"{file}::direct")
        assert isinstance(backend, KernelBackend)
        assert not backend.supports(Case.parse(LINES[3]))
        (result,) = convfuzz.check(LINES[1], [backend]).results
        assert result.verdict == verdict
        file = file.rename(tmp_path / "kernel_of_another.py")


def test_a_library_is_loaded_as_it_is(tmp_path: Path) -> None:
    """A shared library needs no compiler."""
    (tmp_path / "direct.c").write_text(DIRECT)
    (tmp_path / "convfuzz_layer.h").write_text(HEADER)
    library = tmp_path / "direct.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(tmp_path / "direct.c"), "-o", str(library)], check=True)  # noqa: S607
    (result,) = convfuzz.check(LINES[1], [convfuzz.c_kernel(library, "direct", compiler="none")]).results
    assert result.verdict == "agree"


@pytest.mark.parametrize(
    ("source", "symbol", "options", "said"),
    [
        ("int f(void) { return x; }", "f", {}, "‘x’ undeclared|undeclared identifier 'x'"),
        ("int f(void) { return 0; }", "g", {}, "has no function 'g'; one in C\\+\\+ is declared extern"),
        ("int f(void) { return 0; }", "f", {"compiler": "no-such-cc"}, "no compiler 'no-such-cc' on the PATH: install gcc or clang"),
    ],
)
def test_what_cannot_be_built_says_why(source: str, symbol: str, options: dict[str, Any], said: str) -> None:
    """The compiler's own words, a missing function, a missing compiler."""
    with pytest.raises(BackendError, match=said):
        convfuzz.c_kernel(source, symbol, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"tensors": "torch"}, "tensors='torch' is no option of convfuzz.c_kernel"), ({"dims": (4,)}, "dims=(4,): 4 is not one of")],
)
def test_options_are_checked(options: dict[str, Any], said: str) -> None:
    """Those that say what it is handed are its own; the others are as ever."""
    with pytest.raises(InvalidConfig, match=re.escape(said)):
        convfuzz.c_kernel(DIRECT, "direct", **options)


def test_a_file_that_is_not_there_is_named() -> None:
    """The message says where it was looked for."""
    with pytest.raises(InvalidConfig, match=r"source='nothing.c' is neither a file in .*tests.backends nor the text of a C function"):
        convfuzz.c_kernel("nothing.c", "direct")


def test_the_documentation_shows_the_header() -> None:
    """What is written there is what a source includes."""
    assert f"```c\n{HEADER}```" in DOCS
