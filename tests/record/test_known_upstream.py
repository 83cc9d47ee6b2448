"""What is known upstream: the file that ships, what it explains and what it leaves alone, and how it is validated."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from convfuzz.backends import registry
from convfuzz.case import Case
from convfuzz.errors import UnreadableFile
from convfuzz.record.events import BackendEnded
from convfuzz.record.failure_kind import Signature
from convfuzz.record.known_upstream import FILE, Bug, Gone, KnownUpstream, decode_known_upstream, known_upstream, short_link
from convfuzz.verdicts import Verdict

ROOT = Path(__file__).parents[2]
CASE = "conv2d_c1_o1_i4x1_k1_s4x1_psame_f32@integers.0"
SIGN: dict[str, Any] = {"backends": ["torch"], "verdicts": ["wrong", "non-finite"], "features": ["padding=same"], "case": CASE}
BUG: dict[str, Any] = {
    "name": "same-reads-elsewhere",
    "framework": "PyTorch",
    "package": "torch",
    "seen": "2.13.0",
    "title": "SAME reads the wrong sites.",
    "threads": ["https://github.com/pytorch/pytorch/issues/1"],
    "found_by": "its reporter",
    "commands": [f"{CASE} --backends torch"],
}


def known(bug: dict[str, Any] | None = None, **sign: Any) -> KnownUpstream:
    """Return what a file with one bug of one sign says, with some fields changed."""
    record = BUG | (bug or {}) | {"sign": [SIGN | sign]}
    return decode_known_upstream(tomlkit.dumps({"format": 1, "bug": [record]}).encode(), "k.toml")


def explains(what: KnownUpstream, backend: str = "torch", case: str = CASE, verdict: str = "wrong", **more: Any) -> bool:
    """Whether a failure is a sign of the bug, with torch 2.13.0 where ``versions`` does not say otherwise."""
    versions = more.pop("versions", {"torch": "2.13.0+cpu"})
    signature = Signature(backend, Verdict(verdict), more.pop("in_pass", "forward"), more.pop("model", ""))
    return what.explaining(signature, Case.parse(case), versions) is not None


def test_a_failure_of_the_kind_is_known() -> None:
    """Verdict, pass, model and every telling feature count; what else is particular about the case does not."""
    assert explains(known())
    assert explains(known(), case="conv3d_n2_c4_o4_g2_i9_k3_psame_bf16@normal.7", verdict="non-finite")
    assert not explains(known(), case="conv2d_c1_o1_i4x1_k1_s4x1_f32@integers.0")
    assert not explains(known(), verdict="crash")
    assert not explains(known(), in_pass="grad_input", case=f"{CASE.partition('@')[0]}_grad")
    assert not explains(known(), model="float16 accumulation")
    assert not explains(known(), backend="torch:native")


def test_a_sign_may_name_what_is_plain() -> None:
    """A bug of float32 alone is none of float64's, although float32 is nothing particular."""
    plain = known(features=["padding=same", "dtype=float32"])
    assert explains(plain)
    assert not explains(plain, case=CASE.replace("f32", "f64"))
    assert not explains(plain, case=CASE.replace("f32", "bf16"))


def test_what_takes_a_column_in_padding_is_known_by_it() -> None:
    """A kernel of three at stride 2 with padding 1 has columns that meet padding alone on one column or two, and none on three."""
    padded = "conv1d_c1_o1_i1_k3_s2_p1_f32"
    column = known(features=["stride=more than 1"], tap_in_padding=True, case=padded)
    assert all(explains(column, case=line) for line in (padded, "conv1d_c1_o1_i2_k3_s2_p1_f32", "conv2d_c1_o1_i9x1_k3_s2_p0x1_f32"))
    assert explains(column, case="convt1d_c1_o1_i1_k3_s2_p1_f32")
    others = (
        "conv1d_c1_o1_i3_k3_s2_p1_f32",
        "conv2d_c1_o1_i1x9_k3_s2_p1_f32",
        "conv1d_c1_o1_i1_k1_s2_f32",
        "convt1d_c1_o1_i2_k3_s2_p1_f32",
    )
    assert not any(explains(column, case=line) for line in others)
    with pytest.raises(UnreadableFile, match="each column of the kernel"):
        known(features=["stride=more than 1"], tap_in_padding=True, case="conv1d_c1_o1_i1_k1_s2_f32")


def test_a_sign_may_ask_for_no_output_channels() -> None:
    """Where a sign is about a layer without output channels, others of its kind are not known; its own case has to have none."""
    empty = known(features=[], no_output_channels=True, case="conv1d_c1_o0_i1_k1_s2_f32")
    assert explains(empty, case="conv2d_c3_o0_i5_k3_f32")
    assert not explains(empty, case="conv1d_c1_o1_i1_k1_s2_f32")
    with pytest.raises(UnreadableFile, match="has output channels"):
        known(features=[], no_output_channels=True, case="conv1d_c1_o1_i1_k1_s2_f32")


def test_a_sign_may_ask_for_numbers() -> None:
    """A single column of output, say, where no feature is as narrow; a sign's own case has to meet what it asks for."""
    narrow = known(features=[], where=["output_size[-1] == 1", "stride[0] > 1"])
    assert explains(narrow)
    assert not explains(narrow, case="conv2d_c1_o1_i4x2_k1_s4x1_psame_f32@integers.0")
    assert not explains(narrow, case="conv2d_c1_o1_i4x1_k1_psame_f32@integers.0")
    with pytest.raises(UnreadableFile, match=r"does not meet 'output_size\[-1\] > 1', which the sign asks for"):
        known(where=["output_size[-1] > 1"])
    with pytest.raises(UnreadableFile, match="is not like"):
        known(where=["a single column"])


def test_candidates_are_of_the_backend_and_the_pass() -> None:
    """A failure may be of a sign whose features it has not, in any way to get values wrong; not of another backend, pass or release."""

    def tried(what: KnownUpstream, backend: str = "torch", verdict: str = "wrong", in_pass: str = "forward") -> bool:
        signature = Signature(backend, Verdict(verdict), in_pass, "")
        return any(what.candidates(signature, Case.parse("conv1d_c1_o1_i4_k2_f32"), {"torch": "2.13.0"}))

    assert all([tried(known()), tried(known(), "torch+split"), tried(known(), verdict="nondeterministic")])
    assert not any([tried(known(), "jax"), tried(known(), verdict="crash"), tried(known(), in_pass="grad_input")])
    assert not tried(known({"affects": ">=2.14"}))
    assert not tried(known(case="conv1d_c1_o1_i2_k2_psame_f32_grad"))


def test_a_variant_is_known_by_what_computes_for_it() -> None:
    """What a backend gets wrong it gets wrong in parts too; what shows in parts only says nothing of the whole."""
    assert explains(known(), backend="torch+split")
    assert explains(known(backends=["torch+split"]), backend="torch+split")
    assert not explains(known(backends=["torch+split"]), backend="torch")
    assert not explains(known(backends=["torch+split"]), backend="torch+split-in")


def test_a_kernel_is_nobody_upstream() -> None:
    """A user's function is known by no name that a file could have for it."""
    assert not explains(known(), backend="torch.py::torch")


def test_one_kernel_size_is_known_by_itself() -> None:
    """A sign that names a kernel's size explains no failure of another one, with features and without."""
    for features in ([], ["padding=same"]):
        nine = known(features=features, kernel_size=[9], case="conv1d_c2_o1_i9_k9_psame_f32@integers.0")
        assert explains(nine, case="conv1d_n3_c8_o8_i40_k9_psame_f32@normal.2")
        assert not explains(nine, case="conv1d_n3_c8_o8_i40_k8_psame_f32@normal.2")
        assert not explains(nine, case="conv2d_c2_o1_i9_k9_psame_f32@integers.0")


def test_what_takes_nan_or_gradients_is_known_by_them() -> None:
    """A sign that needs NaN or Inf among the data, or gradients, explains no failure without."""
    nan = known(non_finite_data=True, case="conv1d_c1_o1_i2_k2_psame_f32@special.0")
    assert explains(nan, case="conv1d_c1_o1_i4_k2_psame_f32@special.3")
    assert explains(nan, case="conv1d_c1_o1_i2_k2_psame_f32@x0=nan")
    assert not explains(nan, case="conv1d_c1_o1_i4_k2_psame_f32@normal.3")
    grad = known(verdicts=["error"], case="conv1d_c1_o1_i2_k2_psame_f32_grad")
    assert explains(grad, verdict="error", case="conv1d_c1_o1_i4_k2_psame_f32_grad")
    assert not explains(grad, verdict="error", case="conv1d_c1_o1_i4_k2_psame_f32")


def test_only_affected_versions_have_the_bug() -> None:
    """What was fixed is new where it comes again; a version that nothing says of counts as affected."""
    fixed = known({"affects": ">=2.4,<2.13"})
    assert explains(fixed, versions={"torch": "2.12.1"})
    assert not explains(fixed, versions={"torch": "2.13.0+cpu"})
    assert explains(known({"affects": "<=2.13.0"}), versions={"torch": "2.13.0+cpu"})
    assert explains(fixed, versions={})


def test_a_sign_of_other_processors_explains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds on a processor with the instruction sets that it needs and none that it excludes, and where the system names none."""
    with_it, without_it = known(processor=["avx512bw"]), known(not_processor=["avx512bw"])
    for here, expected in ((["avx2"], (False, True)), (["avx2", "avx512bw"], (True, False)), ([], (True, True))):
        monkeypatch.setattr("convfuzz.record.known_upstream.instruction_sets", lambda here=here: frozenset(here))
        assert (explains(with_it), explains(without_it)) == expected


def test_a_newer_version_leaves_it_open() -> None:
    """Only with what is newer than it was seen with is it a question whether the bug is there still."""
    (bug,) = known({"affects": "<2.15"}).bugs
    assert [bug.unseen_in({"torch": version}) for version in ("2.12", "2.13.0+cpu", "2.14.0", "2.15")] == [False, False, True, False]


def test_what_newer_versions_no_longer_show_is_gone() -> None:
    """It is run with newer versions only, and is gone where none of its signs shows; what cannot be run says nothing."""
    ran: list[tuple[Case, str]] = []

    def gone(version: str, verdict: Verdict, *, has_time: bool = True, **sign: Any) -> list[Gone]:
        def evaluate(case: Case, backend: str) -> BackendEnded:
            ran.append((case, backend))
            return BackendEnded(backend=backend, verdict=verdict, seconds=0.0)

        return list(known(**sign).gone({"torch": {"torch": version}, "jax": {"jax": "9"}}, evaluate, lambda: has_time))

    assert gone("2.14.0", Verdict.AGREE) == [Gone("same-reads-elsewhere", "SAME reads the wrong sites.", "torch", "2.13.0", "2.14.0")]
    assert ran == [(Case.parse(CASE), "torch")]
    assert gone("2.14.0", Verdict.WRONG) == gone("2.14.0", Verdict.UNSUPPORTED) == []
    assert gone("2.14.0", Verdict.AGREE, has_time=False) == []
    assert gone("2.13.0+cpu", Verdict.AGREE) == gone("2.14.0", Verdict.AGREE, processor=["avx2"]) == []
    assert gone("2.14.0", Verdict.AGREE, not_processor=["nothing_has_it"]) == []
    assert len(ran) == 3


def test_a_label_names_the_thread() -> None:
    """In a line it is known by repository and number, or by its name where there is no thread."""
    assert known().bugs[0].label == "known: pytorch #1"
    (unreported,) = known({"threads": [], "found_by": "convfuzz"}).bugs
    assert unreported.label == "known: same-reads-elsewhere, no thread known"
    assert unreported.reference == "docs/findings.md#same-reads-elsewhere"
    assert short_link("https://example.org/bugs?id=3") == "https://example.org/bugs?id=3"


@pytest.mark.parametrize(
    ("bug", "sign", "message"),
    [
        ({"seen": "newest"}, {}, "affects and seen are versions of torch: "),
        ({"affects": "2.13 or so"}, {}, "affects and seen are versions of torch: "),
        ({"title": "two\nlines"}, {}, "title 'two\\nlines' is not one line of printable characters"),
        ({"threads": ["javascript:alert(1)"]}, {}, "is not an http or https address"),
        ({"threads": []}, {}, "found_by is 'its reporter', but there is no thread"),
        ({"found_by": "somebody"}, {}, "Invalid enum value 'somebody'"),
        ({"commands": [CASE]}, {}, "is not CASE… --backends A,B"),
        ({"commands": ["conv9d --backends torch"]}, {}, "conv9d"),
        ({"unheard": 1}, {}, "unheard"),
        ({}, {"verdicts": ["agree"]}, "verdict 'agree' is no failure"),
        ({}, {"backends": []}, "length >= 1"),
        ({}, {"features": []}, "a sign without features would explain every case"),
        ({}, {"features": ["dims=3"]}, "feature 'dims=3' is none of its case's"),
        ({}, {"passes": ["grad_weight"]}, "pass 'grad_weight' does not run in case"),
        ({}, {"kernel_size": [1]}, "kernel_size (1,) is not its case's, which is (1, 1)"),
        ({}, {"non_finite_data": True}, "has neither NaN nor Inf among its data"),
        ({}, {"models": ["a\x1b[31m"]}, "is not one line of printable characters"),
    ],
)
def test_what_breaks_a_rule_is_refused(bug: dict[str, Any], sign: dict[str, Any], message: str) -> None:
    """The message names the file, the bug by its number, and the rule."""
    with pytest.raises(UnreadableFile, match=r"^k\.toml, bug 1: ") as refused:
        known(bug, **sign)
    assert message in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"format = 2\n", b"format = 1\nbugs = []\n", b"format = 1\nbug = 3\n", b"\xff"])
def test_another_format_is_refused(data: bytes) -> None:
    """Neither another version nor a key that nobody reads is taken."""
    with pytest.raises(UnreadableFile, match=r"^k\.toml"):
        decode_known_upstream(data, "k.toml")


def test_a_second_bug_of_one_name_is_refused() -> None:
    """A name names one bug."""
    twice = tomlkit.dumps({"format": 1, "bug": [BUG | {"sign": [SIGN]}] * 2}).encode()
    with pytest.raises(UnreadableFile, match=r"k.toml, bug 2: it has the name 'same-reads-elsewhere' of another one"):
        decode_known_upstream(twice, "k.toml")


# -- the file that ships ------------------------------------------------------------------------------------------------


def test_the_file_that_ships_is_valid() -> None:
    """Its bugs are of frameworks that are backends here, by names that these have."""
    names = set(registry.names())
    for bug in known_upstream().bugs:
        for sign in bug.sign:
            assert {name.partition("+")[0] for name in sign.backends} <= names, bug.name
    assert len(known_upstream().bugs) == len(tomllib.loads(files("convfuzz.record").joinpath(FILE).read_text("utf-8"))["bug"])


@pytest.mark.parametrize("bug", known_upstream().bugs, ids=lambda bug: bug.name)
def test_every_sign_explains_its_own_case(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign is found by its own case, on a processor as it needs one, and no bug before it in the file takes that for itself."""
    for sign in bug.sign:
        here = frozenset(sign.processor or ("avx2",))
        monkeypatch.setattr("convfuzz.record.known_upstream.instruction_sets", lambda here=here: here)
        for signature in sign.signatures:
            found = known_upstream().explaining(signature, Case.parse(sign.case), {})
            assert found is not None
            assert found.name == bug.name or found.link == bug.link or set(found.sign[0].backends) & set(sign.backends)


@pytest.mark.parametrize(
    ("backend", "verdict", "case"),
    [
        ("torch", "wrong", "conv2d_c3_o8_i9_k3_s2_f32@integers.0"),
        ("torch", "crash", "conv2d_c3_o8_i9_k3_s2_f32@integers.0"),
        ("torch", "wrong", "conv2d_c3_o8_i9_k3_p1_f64_cl_grad@integers.0"),
        ("torch", "error", "conv1d_c1_o1_i5_k3_f16"),
        ("torch", "non-finite", "conv1d_c1_o1_i5_k3_f32@special.0"),
        ("tensorflow", "wrong", "conv2d_c3_o8_i9_k3_s2_f32@integers.0"),
        ("tensorflow", "crash", "conv3d_c3_o8_i9_k3_s2_f32@integers.0"),
        ("jax", "wrong", "conv2d_c4_o8_g4_i9_k3_f32@integers.0"),
        ("onnxruntime", "error", "conv1d_c1_o1_i10_k3_psame_f32"),
        ("openvino", "wrong", "conv2d_c3_o8_i9_k3_s2_f32@integers.0"),
    ],
)
def test_what_would_be_news_is_not_explained_away(backend: str, verdict: str, case: str) -> None:
    """A silent wrong sum, or a crash, of an everyday layer is nothing that the file knows."""
    assert not explains(known_upstream(), backend, case, verdict, versions={})


def test_the_pages_that_are_made_from_it_are_up_to_date() -> None:
    """docs/findings.md and the reproducing part of docs/known-bugs.md say what the file says."""
    command = [sys.executable, str(ROOT / "benchmarks" / "findings.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "up to date\n"), done.stderr
