"""OpenCV, ncnn, LiteRT and MNN: what they declare agrees with the reference, in a process of its own, since each may end one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from convfuzz import Case
from convfuzz.backends import resolve

from .frameworks import FORWARD, has_known_defect

MODULES = {"opencv": "cv2", "ncnn": "ncnn", "litert": "ai_edge_litert", "mnn": "MNN"}
LAYERS = [
    "conv1d_n2_c3_o4_i7_k3_b_f32",
    "conv1d_n2_c8_o8_i64_k3_f32",
    "conv2d_n2_c4_o6_g2_i7_k3_s2_p1:2x0:3_d1x2_b_f32",
    "conv3d_n2_c2_o3_i4_k3_p1_b_f32",
    "conv2d_n2_c4_o8_g4_i7_k3_s2_p1_b_f32",
    "conv2d_c2_o3_i7x6_k4x3_psame_b_f32",
    "conv2d_c2_o3_i7_k3_pvalid_f32",
    "conv2d_n2_c2_o3_i7_k3_p2:0x1:2_pmreflect_b_f32",
    "convt1d_n2_c3_o4_i7_k3_b_f32",
    "convt2d_n2_c4_o6_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32",
    "convt2d_n2_c2_o3_i5_k4_s2_p2:1x0:3_op1_f32",
    "convt3d_c2_o2_i3x2x4_k2x3x1_s2_op1_b_f32",
    *(f"conv2d_n2_c4_o4_i7_k3_b_f32_{layout}" for layout in ("cl", "nc", "tr", "ex", "of", "ls", "wcl", "wnc", "wtr", "wex")),
]
BEYOND = {
    "opencv": [
        "conv3d_n2_c2_o3_i4_k3_p1_pmcircular_b_f32",
        "conv2d_n2_c2_o3_i7_k3_p-1:2x1:-2_b_f32",
        "conv2d_n2_c2_o3_i7_k3_p2:0x1:3_pmreplicate_b_f32",
        "convt3d_c2_o2_g2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_f32",
    ],
    "ncnn": [
        "conv2d_n-_c4_o6_g2_i7_k3_s2_p1_b_f32",
        "conv1d_n2_c4_o6_g2_i7_k3_p2:0_pmreplicate_b_f32",
        "conv3d_n2_c4_o6_g2_i7_k3_p2:0_pmreplicate_b_f32",
        "convt3d_c2_o2_g2_i3x2x4_k2x3x1_s2_d2x1x3_p1_op1_f32",
        "convt2d_c2_o3_i5_k3_s2_psame_b_f32",
    ],
    "mnn": [
        "conv3d_n2_c4_o6_g2_i4_k3_p1_b_f32",
        "conv2d_n2_c2_o3_i7_k3_p2:0x1:3_pmreplicate_b_f32",
        "convt2d_n2_c4_o6_g2_i5x4_k3x2_s2x3_p1x0_op1x2_b_f32",
        "convt2d_c2_o3_i5_k3_s2_psame_b_f32",
    ],
    "litert": [
        "convt2d_c2_o3_i5_k3_s2_psame_b_f32",
        "convt3d_c2_o3_i4_k3_s2_p1:2x0x3_d2_f32",
        "conv1d_n2_c4_o8_g4_i9_k3_psame_d2_f32",
        "conv2d_n2_c4_o6_g2_i9_k3_psame_d2_f32",
    ],
}
REFUSED = {
    "ncnn": ["conv2d_c2_o3_i5_k3_s0_f32", "conv2d_c2_o3_i5_k3_d0_f32", "conv2d_c2_o3_i2_k3_f32", "conv2d_c4_o4_g0_i5_k3_f32"],
    "litert": ["conv2d_c2_o3_i5_k3_s0_f32", "conv1d_c2_o3_i5_k3_d0_f32", "conv3d_c2_o3_i5_k3_s0_f32", "conv2d_c4_o2_g4_i5_k3_f32"],
}
"""Configurations that are none, which a runtime says that it refuses."""
DRAWN = 40

PROGRAM = """
import collections, json, sys

import numpy as np

import convfuzz
from backends.frameworks import KNOWN_DEFECTS, SMALL, has_known_defect
from backends.test_call_scripts import same, written
from convfuzz import Case
from convfuzz.backends import resolve
from convfuzz.strategies import cases
from convfuzz.tensors.generator import make_tensors
from sampling import sample


def found(name, lines, refused, examples):
    backend, verdicts, failures = resolve(name), collections.Counter(), []

    def check(case):
        print(name, case, file=sys.stderr, flush=True)  # the last one is what ended the process
        (result,) = convfuzz.check(case, [backend]).results
        verdicts[result.verdict] += 1
        if result.verdict.failing:
            failures.append(f"{case}: {result.verdict}, {result.reason}")
        return result

    for line in refused:
        check(Case.parse(line))
    errors = [check(Case.parse(f"{line}@integers.1")).discrepancies["forward"].max_abs for line in lines]
    for case in sample(cases(**SMALL, grad=(False,), dtypes=("float32",)), examples, seed=20261129):
        if not has_known_defect(name, case):
            check(case)
    scripted = []
    for case in (Case.parse(f"{line}@normal.1") for line in lines):
        if not same(written(backend, case), backend.run(case, make_tensors(case))):
            scripted.append(str(case))
    first, second = (Case.parse(f"conv2d_n2_c3_o4_i7_k3_b_f32@normal.{draw}") for draw in (1, 2))
    y = backend.run(first, make_tensors(first))["forward"]
    kept = y.copy()
    backend.run(first, make_tensors(second))
    owns = bool(np.array_equal(y, kept))
    examples_of = [defect.example for defect in KNOWN_DEFECTS.get(name, ()) if not defect.kills]
    mended = [line for line in examples_of if not convfuzz.check(line, [backend]).results[0].verdict.failing]
    return failures, verdicts["agree"], float(max(errors)), scripted, owns, mended


names, refused, examples = json.loads(sys.argv[1])
print(json.dumps({name: found(name, lines, refused, examples) for name, lines in names.items()}))
"""


def require_framework(name: str) -> None:
    """Leave the test out where the framework is not installed; none of them is imported in this process."""
    if importlib.util.find_spec(MODULES[name.partition(":")[0]]) is None:
        pytest.skip("the framework is what is tested")


def known(name: str, line: str) -> bool:
    """Say whether the framework is known to be wrong on integers of a line."""
    return has_known_defect(name, Case.parse(f"{line}@integers.1"))


@pytest.mark.parametrize("framework", MODULES)
def test_declared_domain_agrees_with_the_reference(framework: str) -> None:
    """Every mode is exact on integers, agrees on drawn cases, has a script that computes the same, and fails where it is known to."""
    require_framework(framework)
    names = [name for name in FORWARD if name.partition(":")[0] == framework]
    lines = {name: [line for line in LAYERS + BEYOND[framework] if not known(name, line)] for name in names}
    assert min(map(len, lines.values())) > len(LAYERS) / 2
    program = [sys.executable, "-c", PROGRAM, json.dumps([lines, REFUSED.get(framework, []), DRAWN])]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr[-2000:]
    for name, (failures, agree, error, scripted, owns, mended) in json.loads(done.stdout.splitlines()[-1]).items():
        assert failures == [], name
        assert agree > DRAWN / 4, name
        assert error == 0.0 or name == "ncnn:bf16", name
        assert (scripted, owns) == ([], True), name
        assert mended == [], name


@pytest.mark.parametrize(
    ("line", "transforms"),
    [
        ("conv2d_c8_o8_i14_k3_f32", True),
        ("conv2d_c8_o8_i14_k2x3_f32", False),
        ("conv2d_c8_o8_i14_k7_f32", True),
        ("conv2d_c8_o8_i14_k8_f32", False),
        ("conv2d_c8_o8_i14_k1_f32", False),
        ("conv2d_c8_o8_i14_k3_s2_f32", False),
        ("conv1d_c8_o8_i14_k3_f32", False),
        ("conv3d_c8_o8_i14_k2x3x3_s2x1x1_f32", True),
        ("conv3d_c8_o8_i14_k3x3x2_f32", False),
        ("convt2d_c8_o8_i14_k3_f32", False),
    ],
)
def test_mnn_declares_winograd_where_it_has_it(line: str, transforms: bool) -> None:  # noqa: FBT001 - a column of the table
    """Square kernels of the last two axes, up to what a tile of 8×8 holds; none where the hint leaves it no memory."""
    require_framework("mnn")
    assert (resolve("mnn").numerics(Case.parse(line)).algorithm == "transform") is transforms
    assert resolve("mnn:winograd-0").numerics(Case.parse(line)).algorithm == "direct"


@pytest.mark.parametrize(
    ("line", "transforms"),
    [
        ("conv2d_c8_o8_i14_k3_f32", True),
        ("conv2d_c8_o8_g2_i14_k3_p1_f32", True),
        ("conv2d_c8_o8_i14_k3_s1x2_f32", False),
        ("conv2d_c8_o8_i14_k3_d2_f32", False),
        ("conv2d_c8_o8_i14_k5_f32", False),
        ("conv1d_c8_o8_i14_k3_f32", False),
        ("convt2d_c8_o8_i14_k3_f32", False),
    ],
)
def test_opencv_declares_winograd_where_it_can_be(line: str, transforms: bool) -> None:  # noqa: FBT001 - a column of the table
    """3×3 kernels whose windows and taps are next to each other, and none where it is switched off."""
    require_framework("opencv")
    assert (resolve("opencv").numerics(Case.parse(line)).algorithm == "transform") is transforms
    assert resolve("opencv:winograd-off").numerics(Case.parse(line)).algorithm == "direct"


@pytest.mark.parametrize("name", FORWARD)
def test_what_the_runtime_has_not_is_declined(name: str) -> None:
    """Gradients, other dtypes and a padding that the runtime has no operator for are declined with a reason."""
    require_framework(name)
    backend = resolve(name)
    for line in ("conv2d_c2_o3_i5_k3_f32_grad", "conv2d_c2_o3_i5_k3_f64", "conv2d_n0_c2_o3_i5_k3_f32"):
        assert backend.supports(Case.parse(line)).reason, line
    circular = backend.supports(Case.parse("conv2d_c2_o3_i5_k3_p1_pmcircular_f32"))
    assert bool(circular) is name.startswith("opencv")
