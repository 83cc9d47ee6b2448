"""What must not change a result: each planted violation is found with a case that shows it, and none where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import convfuzz
from convfuzz import Case, ConvConfig
from convfuzz.backends import resolve
from convfuzz.backends.kernels.backend import KernelBackend
from convfuzz.revealing.invariance import KINDS, measure_invariance
from convfuzz.revealing.sheet import Notes

from .kernels import Array, Kernel, backend, backwards, halves, lanes, sequential, split

CONFIG = Case.parse("conv2d_n2_c4_o3_i4_k2_b_f32").config
FORWARDS, BACKWARDS = Kernel(), Kernel(backwards)


class Threading(KernelBackend):
    """A backend with a number of threads."""

    def __init__(self, kernel: Callable[[int], Kernel], threads: int = 1) -> None:
        super().__init__("threading", backend(kernel(threads))._kernel)
        self._kernel_of = kernel

    def with_threads(self, count: int) -> Threading:
        """Return the kernel of so many threads."""
        return Threading(self._kernel_of, count)


def either(condition: Callable[[Array, Array], bool]) -> KernelBackend:
    """Return a kernel that adds from the other end where a condition holds."""

    def kernel(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
        return (BACKWARDS if condition(x, w) else FORWARDS)(x, w, b, config)

    return backend(kernel)


def by_sample(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Add the last of several samples from the other end."""
    y = FORWARDS(x, w, b, config)
    if len(x) > 1:
        y[-1] = BACKWARDS(x, w, b, config)[-1]
    return y


def random(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Add in either order, as it comes."""
    return (FORWARDS, BACKWARDS)[_COIN.integers(2)](x, w, b, config)


def by_parity(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Add every other sample from the other end."""
    y = FORWARDS(x, w, b, config)
    y[1::2] = BACKWARDS(x, w, b, config)[1::2]
    return y


def tuned(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Add from the other end when a shape comes again, as a kernel does that is tuned in its first call."""
    chosen = BACKWARDS if x.shape in _MET else FORWARDS
    _MET.add(x.shape)
    return chosen(x, w, b, config)


def in_chunks(x: Array, w: Array, b: Array | None, config: ConvConfig) -> Array:
    """Compute four samples at a time, in the order of their sums."""
    order = np.argsort(x.reshape(len(x), -1).sum(axis=1), kind="stable")
    y = np.empty((len(x), len(w), *config.output_size), x.dtype)
    for at in range(0, len(x), 4):
        some = order[at : at + 4]
        y[some] = FORWARDS(x[some], w, b, config)
    return y


_MET: set[tuple[int, ...]] = set()
_COIN = np.random.default_rng(1)

VIOLATIONS: dict[str, tuple[KernelBackend, set[str]]] = {
    "batch of 1": (either(lambda x, _: len(x) == 1), {"batch"}),
    "batch of 16 and more": (either(lambda x, _: len(x) >= 16), {"batch"}),
    "the last sample": (backend(by_sample), {"batch", "position"}),
    "large neighbours": (either(lambda x, _: bool(np.abs(x).max() > 20.0)), {"members"}),
    "many zeros": (either(lambda x, _: bool((x == 0).mean() > 0.3)), {"members"}),
    "zero kernels": (either(lambda _, w: not w[1:].any()), {"channels"}),
    "one kernel": (either(lambda _, w: len(w) == 1), {"channels"}),
    "many kernels": (either(lambda _, w: len(w) > 32), {"channels"}),
    "large input": (either(lambda x, _: x.shape[-1] > 30), {"size"}),
    "channels last": (either(lambda x, _: x.strides[1] == x.itemsize and x.shape[1] > 1), {"layout"}),
    "odd addresses": (either(lambda x, _: x.__array_interface__["data"][0] % 8 == 4), {"alignment", "layout"}),
    "whole cache lines": (either(lambda x, _: x.__array_interface__["data"][0] % 64 == 0), {"alignment"}),
    "whole vectors": (either(lambda x, _: x.__array_interface__["data"][0] % 16 == 0), {"alignment"}),
    "three threads": (Threading(lambda n: Kernel(split(3)) if n == 3 else Kernel()), {"threads"}),
    "no two runs": (backend(random), {"runs"}),
    "the second call of a shape": (backend(tuned), {"runs"}),
    "odd samples": (backend(by_parity), {"batch", "position"}),
    "batches of eight": (either(lambda x, _: len(x) % 8 == 0), {"batch"}),
    "an odd width": (either(lambda x, _: x.shape[-1] % 2 == 1), {"size"}),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_planted_violation_is_found(name: str) -> None:
    """What changes results is found, and the case that is given shows it."""
    kernel, expected = VIOLATIONS[name]
    invariant, violations = measure_invariance(kernel, CONFIG, Notes(), seconds=60)
    found = {kind for kind in KINDS if invariant[kind] is False}
    assert expected <= found
    # Where arrays happen to begin, any call may change what asks for it.
    assert found == expected or name in ("whole cache lines", "whole vectors")
    assert all(violations[kind].max_abs > 0.0 for kind in expected)
    assert all(Case.parse(violations[kind].case).config.in_channels <= CONFIG.in_channels for kind in expected)


def test_the_smallest_batch_is_told() -> None:
    """Of a kernel that changes at a batch of 16 the case has a batch of 16, and little else."""
    _, violations = measure_invariance(VIOLATIONS["batch of 16 and more"][0], CONFIG, Notes(), seconds=60)
    config = Case.parse(violations["batch"].case).config
    assert (config.batch, config.out_channels) == (16, 1)
    assert "16 samples together" in violations["batch"].what


IN_C = """
#include "convfuzz_layer.h"

void direct(const float *x, const float *w, const float *b, float *y, const struct convfuzz_layer *l)
{
    const int64_t H = l->input_size[1], W = l->input_size[2], P = l->output_size[1], Q = l->output_size[2];
    for (int64_t at = 0; at < l->batch * l->out_channels * P * Q; at++) {
        const int64_t n = at / (l->out_channels * P * Q), o = at / (P * Q) % l->out_channels, p = at / Q % P, q = at % Q;
        float sums[4] = {b[o], 0, 0, 0};
        for (int64_t t = 0; t < l->in_channels * l->kernel_size[1] * l->kernel_size[2]; t++) {
            const int64_t j = t % l->kernel_size[2], i = t / l->kernel_size[2] % l->kernel_size[1];
            const int64_t c = t / l->kernel_size[2] / l->kernel_size[1];
            sums[t % 4] += x[((n * l->in_channels + c) * H + p + i) * W + q + j]
                         * w[((o * l->in_channels + c) * l->kernel_size[1] + i) * l->kernel_size[2] + j];
        }
        y[at] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
}
"""


def test_nothing_is_claimed_of_a_kernel_in_c() -> None:
    """Four accumulators in C, whatever the compiler makes of them, add every element alike."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("there is no compiler")
    kernel = convfuzz.c_kernel(IN_C, "direct", supports=lambda c: c.groups == 1 and c.batch is not None and not any(map(any, c.pads)))
    invariant, violations = measure_invariance(KernelBackend("in C", kernel), CONFIG, Notes(), seconds=60)
    assert violations == {}
    assert all(invariant[kind] for kind in ("runs", "members", "channels", "position", "batch", "size"))


@pytest.mark.parametrize("kernel", [Kernel(), in_chunks, Kernel(halves), Kernel(lanes(4, sequential)), Kernel(accumulator=np.float64)])
def test_nothing_is_claimed_of_an_invariant_kernel(kernel: Callable[..., Array]) -> None:
    """A kernel that adds every element alike has no violation, and what cannot be varied is not known."""
    invariant, violations = measure_invariance(backend(kernel), CONFIG, Notes(), seconds=60)
    assert violations == {}
    assert invariant == {kind: None if kind == "threads" else True for kind in KINDS}


def test_threads_are_varied_where_they_can_be() -> None:
    """A backend whose threads can be set, and change nothing, is invariant to them."""
    invariant, _ = measure_invariance(Threading(lambda _: Kernel()), CONFIG, Notes(), seconds=60)
    assert invariant["threads"] is True


def test_the_threads_of_pytorch_can_be_set() -> None:
    """PyTorch's number of threads is varied, and is what it was afterwards."""
    torch = pytest.importorskip("torch", reason="its threads are varied")
    backend_of_torch = resolve("torch")
    before = torch.get_num_threads()
    invariant, _ = measure_invariance(backend_of_torch, Case.parse("conv1d_n1_c2_o2_i4_k2_f64").config, Notes(), seconds=60)
    assert invariant["threads"] is not None
    assert torch.get_num_threads() == before


def test_time_that_runs_out_is_told() -> None:
    """Where the time is up before all trials were made, the notes say so."""
    notes = Notes()
    measure_invariance(backend(Kernel()), replace(CONFIG), notes, seconds=0.0)
    assert any("for want of time" in line for line in notes.inferred)
