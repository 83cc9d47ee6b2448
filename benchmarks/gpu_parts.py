"""What ``benchmarks/gpu.py`` checks on a CUDA device, part by part; each imports what it needs when it runs, in a process of its own."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KERNELS = Path(__file__).with_name("gpu_kernels.py")
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")
OK, FAILED = "ok", "FAILED"

Row = tuple[str, str, str]
"""What was checked, what came of it, and the figures."""


class Missing(Exception):
    """Something that a part needs is not on this machine."""


def versions() -> list[Row]:
    """Say which device and which libraries these are."""
    import numba  # noqa: PLC0415 - a part imports what it needs

    from convfuzz.oracle import cuda  # noqa: PLC0415 - the same

    name = cuda.device_name()
    figures = [f"numba {numba.__version__}", *(f"{package} {_version(package)}" for package in ("numba-cuda", "torch", "triton"))]
    if name is None:
        return [("device", FAILED, f"Numba sees no CUDA device, or no compiler for it; {', '.join(figures)}")]
    if not SIMULATED:
        torch = _torch()
        figures += [f"CUDA {torch.version.cuda}", f"cuDNN {torch.backends.cudnn.version()}"]
        figures.append(f"compute capability {'.'.join(map(str, torch.cuda.get_device_capability()))}")
    return [("device", OK, f"{name}; {', '.join(figures)}")]


def tests() -> list[Row]:
    """Run the tests of device code on the device, or a few of them in the simulator."""
    chosen = ["tests/oracle/test_cuda.py", "tests/judging/test_on_device.py", "tests/backends/test_device_memory.py"]
    which = "not simulator" if not SIMULATED else "subnormal or integers or seen_on_the_host or refused"
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-k", which, *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:])
    last = next((line for line in reversed(done.stdout.splitlines()) if " in " in line), done.stderr[-200:])
    left_out = "no CUDA device here" in done.stdout
    return [("tests of device code", FAILED if done.returncode or left_out else OK, last.strip("= "))]


def bits() -> list[Row]:
    """Compare the reference on the device with the one on the CPU, every pass of drawn cases, bit for bit."""
    from hypothesis import Phase, given, seed, settings  # noqa: PLC0415 - a part imports what it needs

    from convfuzz.backends import resolve  # noqa: PLC0415 - the same
    from convfuzz.case import Case  # noqa: PLC0415 - the same
    from convfuzz.strategies import cases  # noqa: PLC0415 - the same
    from convfuzz.tensors.generator import make_tensors  # noqa: PLC0415 - the same

    host, device = resolve("reference"), resolve("reference:cuda")
    wanted, differing, elements = 12 if SIMULATED else 400, [], 0
    limits: Any = {"max_flops": 400, "max_elements": 60} if SIMULATED else {"max_flops": 2_000_000}
    compared = 0

    @seed(20261129)
    @settings(max_examples=2 * wanted, database=None, deadline=None, phases=[Phase.generate])
    @given(case=cases(**limits))
    def drawn(case: Case) -> None:
        nonlocal compared, elements
        if compared == wanted or not case.config.is_valid or not host.supports(case):
            return
        compared += 1
        tensors = make_tensors(case)
        on_host, on_device = host.run(case, tensors), device.run(case, tensors)
        elements += sum(y.size for y in on_host.values())
        if any(not _same_bits(on_host[name], on_device[name]) for name in case.passes):
            differing.append(str(case))

    drawn()
    print("\n".join(differing))
    figures = f"{compared} cases, {elements:,} elements, {len(differing)} cases differ"
    return [("reference beside reference:cuda, bit for bit", FAILED if differing or compared < wanted else OK, figures)]


def campaign() -> list[Row]:
    """Fuzz every mode of torch:cuda for 60 seconds."""
    from convfuzz.backends.torch.functional import MODES  # noqa: PLC0415 - a part imports what it needs

    _torch()
    modes = [f"torch:{mode}" for mode in MODES if mode.startswith("cuda")]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        given = ["--backends", ",".join(modes), "--time", "60s", "--seed", "1", "--workers", "4", "--out", str(out)]
        with (Path(folder) / "output").open("w+") as output:
            child = subprocess.Popen([sys.executable, "-m", "convfuzz", "run", *given], stdout=output, stderr=subprocess.STDOUT)
            try:
                status = child.wait(82)
            except subprocess.TimeoutExpired:  # it is reducing what it has found, and saves all when it is interrupted
                child.send_signal(signal.SIGINT)
                status = child.wait(15)
            output.seek(0)
            print(output.read()[-6000:])
        run = json.loads((out / "run.json").read_text())
    findings = [f"{one['verdict']} of {one['backend']}: {one['case']}" for one in run["findings"]]
    print("\n".join(findings))
    rate = run["cases"] / run["elapsed_s"] if run["elapsed_s"] else 0.0
    figures = f"{run['cases']:,} cases, {run['comparisons']:,} comparisons, {rate:.0f} cases/s, {len(findings)} findings"
    # A finding may be the library's or convfuzz's; a run that compared nothing, or did not end as runs end, is convfuzz's.
    is_sound = run["comparisons"] > 0 and status in (0, 1, 130)
    return [
        (f"campaign over {', '.join(modes)}", OK if is_sound else FAILED, figures),
        *(("finding", "look at it", f) for f in findings[:8]),
    ]


def planted() -> list[Row]:
    """See that planted faults are found: silent TF32, memory that was never written, a changed input."""
    torch = _torch()
    from gpu_kernels import CASE, TF32_CASE  # noqa: PLC0415 - a part imports what it needs

    found = []
    for kernel, line, verdict, model in (
        ("right", CASE, "agree", ""),
        ("right", TF32_CASE, "agree", ""),
        ("unwritten", CASE, "non-finite", ""),
        ("changes_its_input", CASE, "corrupted-input", ""),
        ("silent_tf32", TF32_CASE, "imprecise", "TF32"),
    ):
        if model and torch.cuda.get_device_capability() < (8, 0):
            found.append((f"kernel `{kernel}`", "no TF32 on this device", ""))
            continue
        result = _checked(f"{KERNELS}::{kernel}", line)
        is_found = result.verdict == verdict and model in result.model
        found.append((f"kernel `{kernel}` is {verdict}", OK if is_found else FAILED, f"{result.verdict}: {result.reason or result.model}"))
    return found


def lost() -> list[Row]:
    """See that an illegal address is a crash of the kernel that has written there, once, and that what runs next is judged."""
    from gpu_kernels import CASE, FATAL  # noqa: PLC0415 - a part imports what it needs

    from convfuzz.case import Case  # noqa: PLC0415 - the same
    from convfuzz.processes.sandbox import Sandbox  # noqa: PLC0415 - the same

    loses, right = (f"{KERNELS}::{'simulated_' * SIMULATED}{name}" for name in ("lost", "right"))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        sandbox = Sandbox([loses, right], None, log)
        try:
            steps = [(CASE, loses), (FATAL, right), (FATAL, loses), (FATAL, right), (CASE, loses)]
            verdicts = [str(sandbox.evaluate(Case.parse(line), name).verdict) for line, name in steps]
        finally:
            sandbox.close()
        told = log.read_text()
        print(told[-3000:])
    is_right = verdicts == ["agree", "agree", "crash", "agree", "agree"] and told.count("CUDA context lost") == 1
    return [("an illegal address is blamed once", OK if is_right else FAILED, ", ".join(verdicts))]


def speed() -> list[Row]:
    """Time the reference on the device beside cuDNN's float64 convolutions of values, magnitudes and squares."""
    torch = _torch()
    import numpy as np  # noqa: PLC0415 - a part imports what it needs

    from convfuzz.case.config import ConvConfig  # noqa: PLC0415 - the same
    from convfuzz.oracle import cuda  # noqa: PLC0415 - the same

    rows, rng, goal = [], np.random.default_rng(0), 3.0
    for line in ("conv2d_n16_c64_o64_i56_k3_p1_f32", "conv2d_n8_c256_o128_i13_k3_p1_f32", "conv3d_n2_c16_o16_i8x16x16_k3_p1_f32"):
        config = ConvConfig.parse(line)
        x, w = (torch.from_numpy(rng.standard_normal(s, np.float32)).cuda() for s in (config.input_shape, config.weight_shape))
        wide = [(x.double(), w.double()), (x.double().abs(), w.double().abs()), (x.double() ** 2, w.double() ** 2)]
        convolve = getattr(torch.nn.functional, f"conv{config.dims}d")

        def ours(config: Any = config, x: Any = x, w: Any = w) -> None:
            cuda.reference(config, x, w)

        def theirs(convolve: Any = convolve, wide: Any = wide) -> None:
            for a, b in wide:
                convolve(a, b, padding=1).cpu()  # as ours is on the host in the end

        times = [_median(run, torch.cuda.synchronize) for run in (ours, theirs)]
        ratio = times[0] / times[1]
        figures = f"{times[0] * 1e3:.2f} ms beside {times[1] * 1e3:.2f} ms: {ratio:.1f} times, goal {goal:g}"
        rows.append((f"reference:cuda beside cuDNN float64, {line}", OK if ratio <= goal else "goal missed", figures))
    return rows


def judged() -> list[Row]:
    """Judge two layers on the device, and see that one wrong element of them is left to the host."""
    from convfuzz.case import Case  # noqa: PLC0415 - a part imports what it needs
    from convfuzz.judging.numerics import Numerics  # noqa: PLC0415 - the same
    from convfuzz.judging.on_device import OnDevice, judge_on_device  # noqa: PLC0415 - the same
    from convfuzz.tensors.generator import make_tensors  # noqa: PLC0415 - the same

    large = ("conv2d_n8_c256_o256_i56_k3_p1_b_f32@normal.1", "conv2d_n64_c128_o128_i56_k3_p1_s2_f16@normal.2")
    rows, numerics = [], Numerics(algorithm="transform", bias="separate", truncates=True, flushes_subnormals=True)
    for line in ("conv2d_n2_c2_o4_i5x4_k3_p1_b_f32@normal.1", "conv2d_n2_c2_o2_i5x4_k3_s2_f16@normal.2") if SIMULATED else large:
        case = Case.parse(line)
        began = time.perf_counter()
        tensors = make_tensors(case)
        made = time.perf_counter() - began
        x, w, output = _layer(case, tensors)
        began = time.perf_counter()
        found = judge_on_device(case, OnDevice(tensors, x, w), output, numerics)
        first = time.perf_counter() - began
        began = time.perf_counter()
        again = judge_on_device(case, OnDevice(tensors, x, w), output, numerics)
        seconds = time.perf_counter() - began
        at = tuple(size - 1 for size in case.config.output_shape)
        _spoil(output, at)
        wrong = judge_on_device(case, OnDevice(tensors, x, w), output, numerics)
        is_right = found is not None and found == again and wrong is None
        ratio = float("nan") if found is None or found.discrepancy is None or found.discrepancy.ratio is None else found.discrepancy.ratio
        rate = case.config.flops / 2 / seconds / 1e9
        figures = (
            f"{math.prod(case.config.output_shape):,} elements in {seconds:.2f} s ({rate:.1f} billion products/s; the first time "
            f"{first:.2f} s, making the data {made:.2f} s), largest ratio {ratio:.3g}; "
            f"a wrong element {'is seen' if wrong is None else 'is NOT seen'}"
        )
        rows.append((f"judged on the device: {line}", OK if is_right else FAILED, figures))
    return rows


PROBLEM = """\
import torch
class Model(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, 8, 3, padding=1)
    def forward(self, x):
        return torch.relu(self.conv(x))
def get_inputs():
    return [torch.randn(2, 4, 9, 7)]
def get_init_inputs():
    return [4]
"""
SOLUTIONS = {
    "accepted": PROBLEM.replace("class Model(", "class ModelNew("),
    "rejected": PROBLEM.replace("class Model(", "class ModelNew(")
    .replace("return torch.relu", "self.y = torch.relu")
    .replace("(self.conv(x))", "(self.conv(x))\n        return torch.empty_like(self.y)"),
}


def judge() -> list[Row]:
    """Judge solutions of a problem on the device: one that is right, and one that returns memory that it never wrote."""
    _torch()
    from convfuzz.judging.numerics import Numerics  # noqa: PLC0415 - a part imports what it needs
    from convfuzz.solutions.judge import judge as judged_by  # noqa: PLC0415 - the same

    rows: list[Row] = []
    tf32 = Numerics(inputs="tfloat32-truncated", truncates=True)  # PyTorch's default
    with tempfile.TemporaryDirectory() as folder:
        problem, solution = Path(folder) / "problem.py", Path(folder) / "solution.py"
        problem.write_text(PROBLEM)
        for verdict, source in SOLUTIONS.items():
            solution.write_text(source)
            found = judged_by(problem, solution, seed=1, seconds=12.0, device="cuda", numerics=tf32)
            figures = f"{found.verdict}: {'; '.join(found.reasons)[:200]}"
            rows.append((f"a solution that is to be {verdict}, on the device", OK if found.verdict == verdict else FAILED, figures))
    return rows


# -- what several parts need ---------------------------------------------------------------------------------------------


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - read from the packages that were brought along

    try:
        return version(package)
    except PackageNotFoundError:
        return "is not there"


def _torch() -> Any:
    import torch  # noqa: PLC0415 - a part imports what it needs

    if not torch.cuda.is_available():
        raise Missing(f"PyTorch {torch.__version__} sees no CUDA device")
    return torch


def _same_bits(a: Any, b: Any) -> bool:
    """Whether two arrays are equal, with the signs of zeros; a NaN is a NaN."""
    import numpy as np  # noqa: PLC0415 - a part imports what it needs

    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    parts = [(a.real, b.real), (a.imag, b.imag)] if a.dtype.kind == "c" else [(a, b)]
    return all(bool(np.all(((p == q) & (np.signbit(p) == np.signbit(q))) | ((p != p) & (q != q)))) for p, q in parts)  # noqa: PLR0124 - NaN


def _checked(kernel: str, line: str) -> Any:
    import convfuzz  # noqa: PLC0415 - a part imports what it needs

    return convfuzz.check(line, [kernel]).results[0]


def _median(run: Callable[[], None], synchronize: Callable[[], object], rounds: int = 7) -> float:
    times = []
    for _ in range(rounds + 1):
        synchronize()
        began = time.perf_counter()
        run()
        synchronize()
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[rounds // 2]


def _layer(case: Any, tensors: Any) -> tuple[Any, Any, Any]:
    """Return input, weight and output of a layer on the device: PyTorch's there, the reference's in the simulator."""
    if SIMULATED:
        import numpy as np  # noqa: PLC0415 - a part imports what it needs

        from convfuzz.oracle import reference  # noqa: PLC0415 - the same
        from convfuzz.oracle.cuda.arrays import DeviceArray  # noqa: PLC0415 - the same

        y = reference(case.config, tensors.x, tensors.w, tensors.b).y.astype(case.config.dtype)
        return tuple(DeviceArray.copied(np.ascontiguousarray(a)) for a in (tensors.x, tensors.w, y))  # type: ignore[return-value] # three of them
    torch = _torch()
    torch.backends.cudnn.allow_tf32 = False
    x, w, b = (None if a is None else torch.from_numpy(a).cuda() for a in (tensors.x, tensors.w, tensors.b))
    return x, w, torch.nn.functional.conv2d(x, w, b, case.config.stride, padding=case.config.pads[0][0])


def _spoil(output: Any, at: tuple[int, ...]) -> None:
    if SIMULATED:
        values = output.memory.copy_to_host()
        values[-1] += 1.0
        output.memory.copy_to_device(values)
    else:
        output[at] += 1.0


# -- the parts by their names --------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[Callable[[], list[Row]], int, bool]] = {
    "versions": (versions, 60, True),
    "tests": (tests, 110, True),
    "bits": (bits, 60, True),
    "lost": (lost, 60, True),
    "planted": (planted, 50, False),
    "judged": (judged, 60, True),
    "judge": (judge, 60, False),
    "campaign": (campaign, 100, False),
    "speed": (speed, 40, False),
}
"""Each part, its time limit in seconds, and whether the simulator can run it."""
