"""The frameworks and the runtimes of ONNX models agree with the reference on everything that their adapters declare."""

from __future__ import annotations

from collections import Counter

import pytest

import convfuzz
from convfuzz import Case
from convfuzz.backends import resolve

from .frameworks import ADAPTERS, EAGER, KNOWN_DEFECTS, OF_THE_DOMAIN, RUNTIMES, drawn, worth_running


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", EAGER + RUNTIMES)
def test_declared_domain_agrees_with_the_reference(name: str) -> None:
    """On drawn cases of every dtype, layout, padding and regime, empty ones included, the framework agrees or is unsupported.

    Those that compile for each layer run what these cases show in ``test_framework_passes.py``, together with what others show there.
    """
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    backend = resolve(name)
    verdicts: Counter[str] = Counter()
    failures: list[str] = []
    chosen = worth_running(backend, drawn(*OF_THE_DOMAIN))

    for case in chosen:
        (result,) = convfuzz.check(case, [backend]).results
        verdicts[result.verdict] += 1
        if result.verdict.failing:
            failures.append(f"{case}: {result.verdict}, {result.reason}")
    assert failures == []
    assert verdicts["agree"] > len(chosen) / 4


@pytest.mark.parametrize("name", ADAPTERS + RUNTIMES)
def test_invalid_configurations_are_rejected_or_declined(name: str) -> None:
    """A kernel that does not fit, and groups that do not divide, are rejected by the framework or documented as accepted."""
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    lines = ["conv2d_c3_o4_g2_i5_k3_f32", "conv2d_c2_o3_i5_k3_s0_f32"]
    # TensorFlow accepts a kernel that does not fit and returns a tensor of the input's shape: docs/findings.md
    if name not in {"tensorflow", "tensorflow:graph", "tensorflow:convolution"}:
        lines += ["conv1d_c2_o3_i4_k5_f32", "conv2d_c2_o3_i2_k3_f32"]
    for line in lines:
        (result,) = convfuzz.check(line, [name]).results
        assert result.verdict in ("agree", "unsupported"), f"{line}: {result.verdict}, {result.reason}"


@pytest.mark.parametrize("name", ADAPTERS + RUNTIMES)
def test_every_refusal_has_a_reason_to_group_by(name: str) -> None:
    """Refusals over the drawn domain come with short reasons that name no size."""
    pytest.importorskip(name.partition(":")[0], reason="the framework is what is tested")
    backend = resolve(name)
    reasons: set[str] = set()

    for case in drawn(300, 3, invalid=True):
        support = backend.supports(case)
        if not support:
            reasons.add(support.reason)
    assert reasons
    assert len(reasons) < 30
    assert all(len(reason) < 100 for reason in reasons)


@pytest.mark.parametrize("name", ADAPTERS + RUNTIMES)
def test_known_defects_are_left_out_for_a_reason(name: str) -> None:
    """Whatever the tests above leave out says in words why, and names a case that is left out."""
    for defect in KNOWN_DEFECTS[name]:
        assert defect.what
        assert defect.applies(Case.parse(defect.example))


def test_channels_last_mode_hands_over_channels_last_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode converts input and weight to the channels-last memory format before the convolution."""
    torch = pytest.importorskip("torch", reason="the mode is torch's")
    seen: list[bool] = []
    original = torch.nn.functional.conv2d

    def spy(x: object, w: object, *args: object, **options: object) -> object:
        seen.append(all(t.is_contiguous(memory_format=torch.channels_last) for t in (x, w)))  # type: ignore[attr-defined]
        return original(x, w, *args, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", spy)
    convfuzz.check("conv2d_n2_c3_o4_i6_k3_f32", ["torch:channels_last"])
    assert seen
    assert all(seen)


def test_native_mode_leaves_onednn_on_for_the_others() -> None:
    """PyTorch's oneDNN is off inside ``torch:native`` only."""
    torch = pytest.importorskip("torch", reason="the mode is torch's")
    before = torch.backends.mkldnn.enabled
    convfuzz.check("conv2d_n2_c3_o4_i6_k3_f32", ["torch:native"])
    assert torch.backends.mkldnn.enabled == before


def test_threads_mode_has_four_threads_and_leaves_one_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The convolution sees four; what runs next sees one."""
    torch = pytest.importorskip("torch", reason="the mode is torch's")
    seen: list[int] = []
    original = torch.nn.functional.conv2d

    def spy(*args: object, **options: object) -> object:
        seen.append(torch.get_num_threads())
        return original(*args, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", spy)
    convfuzz.check("conv2d_n2_c3_o4_i6_k3_f32@normal.0", ["torch", "torch:threads", "torch:channels_last"])
    assert list(dict.fromkeys(seen)) == [1, 4]
    assert seen[-1] == 1


def test_avx2_mode_takes_other_kernels() -> None:
    """The caps are in force where it runs: its sums are in another order than those of this processor's own kernels."""
    torch = pytest.importorskip("torch", reason="the mode is torch's")
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("this processor has no other kernels")
    ((_, _, apart),) = convfuzz.check("conv2d_n2_c64_o32_i29_k3_p1_f32@normal.0", ["torch", "torch:avx2"]).pairs
    assert apart > 0


@pytest.mark.parametrize(("line", "verdict"), [("convt2d_c4_o3_g2_i5_k3_f32", "unsupported"), ("convt2d_c4_o3_g2_i5_k3_b_f32", "agree")])
def test_torch_is_not_blamed_for_output_channels_that_it_never_sees(line: str, verdict: str) -> None:
    """A transposed call says its output channels by the bias alone; without one there is nothing that it could reject."""
    pytest.importorskip("torch", reason="the rule is PyTorch's")
    (result,) = convfuzz.check(line, ["torch"]).results
    assert result.verdict == verdict
