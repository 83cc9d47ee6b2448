"""All checks on a CUDA device in one go: a table for ``docs/cuda.md``, in less than eight minutes.

    python benchmarks/gpu.py [--only PART] [--simulate]
    python benchmarks/gpu.py --pack

It needs PyTorch, Numba with CUDA, and what convfuzz depends on; not convfuzz itself, which it takes from this checkout, and no network.
For a bare machine, ``--pack`` on one with a network puts the dependencies into ``build/gpu-packages`` of the checkout, which is copied
with it: the Python version has to be the same. Without a device, ``--simulate`` runs what Numba's simulator can run, with few cases.

Each part runs in a process of its own with a time limit. One that fails is a row and does not end the others; the exit status is 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent))  # which a safe path leaves out

from gpu_parts import FAILED, OK, PARTS, ROOT, SIMULATED, Missing, Row

PACKAGES = ROOT / "build" / "gpu-packages"
BROUGHT = ("torch", "numba", "numpy")
"""What the machine has to have itself."""
ROWS = "rows: "
NEEDS = "needs a device"
MOST_SECONDS = 470
"""For all parts; what is left after that is a row that says so."""


def _dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [entry.split(">")[0].split("=")[0].split("<")[0].strip() for entry in project["dependencies"]]
    return [name for name in named if name not in BROUGHT]


def _require(simulate: bool) -> list[str]:  # noqa: FBT001 - a flag of the command
    """Return which packages are not there, in words."""
    needed = {name: name.replace("-", "_") for name in [*_dependencies(), "pytest", "numba", "numpy"]}
    if not simulate:
        needed["torch"] = "torch"
    return [name for name, module in needed.items() if find_spec(module) is None]


def pack() -> int:
    """Install the dependencies beside the checkout, for a machine without a network."""
    skipped = "\n".join(f"{name} ; python_version < '0'" for name in BROUGHT)
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text("\n".join([*_dependencies(), "pytest", skipped]))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(PACKAGES), "-r", str(wanted)]
        status = subprocess.run(command, check=False).returncode
    for name in ("numpy", "numpy.libs"):  # which ml-dtypes brings along; the machine has its own
        for path in PACKAGES.glob(f"{name}*"):
            subprocess.run(["rm", "-r", str(path)], check=True)  # noqa: S607 - a POSIX system
    return status


def site(folder: Path) -> None:
    """Lay out convfuzz as it is installed, by links, with its entry points."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    package, described = folder / "convfuzz", folder / "convfuzz-0.dist-info"
    package.mkdir()
    described.mkdir()
    for path in (ROOT / "convfuzz").iterdir():
        (package / path.name).symlink_to(path)
    for name in ("strategies", "reports"):
        (package / name).symlink_to(ROOT / name)
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: convfuzz\nVersion: {project.get('version', '0')}\n")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [line for group, points in groups.items() for line in (f"[{group}]", *(f"{name} = {where}" for name, where in points.items()))]
    (described / "entry_points.txt").write_text("\n".join(lines) + "\n")


def run_part(name: str, limit: float, environment: dict[str, str]) -> tuple[list[Row], str]:
    """Run a part in a process of its own, and return its rows and what it printed."""
    with tempfile.TemporaryFile("w+") as output:
        command = [sys.executable, str(Path(__file__).resolve()), "--part", name]
        child = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            child.wait(limit)
            ended = f"ended with status {child.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"took longer than {limit:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        output.seek(0)
        printed = output.read()
    told = [line for line in printed.splitlines() if line.startswith(ROWS)]
    if told:
        return [tuple(row) for row in json.loads(told[-1].removeprefix(ROWS))], printed
    last = next((line for line in reversed(printed.splitlines()) if line.strip()), "")
    return [(name, FAILED, f"{ended}: {last}"[:300])], printed


def answer(name: str) -> int:
    """Run a part in this process, and print its rows."""
    try:
        rows = PARTS[name][0]()
    except Missing as error:
        rows = [(name, FAILED, str(error))]
    print(ROWS + json.dumps(rows), flush=True)
    os._exit(0)  # a lost context or a stuck thread must not change what was found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulate", action="store_true", help="run what Numba's simulator can run, with few cases")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part to run; repeatable (default: all)")
    parser.add_argument("--pack", action="store_true", help="put the dependencies into build/gpu-packages of the checkout")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.pack:
        return pack()
    if given.part:
        return answer(given.part)
    simulate = given.simulate or SIMULATED
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="convfuzz-gpu-") as folder:
        site(Path(folder))
        paths = [folder, *([str(PACKAGES)] if PACKAGES.is_dir() else []), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        if simulate:
            environment["NUMBA_ENABLE_CUDASIM"] = "1"
        sys.path[:0] = paths
        missing = _require(simulate)
        if missing:
            print(f"not on this machine: {', '.join(missing)}")
            print("On one with a network and the same Python: python benchmarks/gpu.py --pack; then copy the checkout with build/.")
            return 2
        failed, told = 0, []
        print("| check | result | figures |\n|---|---|---|", flush=True)
        for name in given.only or PARTS:
            _, limit, in_simulator = PARTS[name]
            left = MOST_SECONDS - (time.monotonic() - began)
            if simulate and not in_simulator:
                rows, printed = [(name, NEEDS, "")], ""
            elif left < 5:
                rows, printed = [(name, FAILED, f"no time left of {MOST_SECONDS} s")], ""
            else:
                rows, printed = run_part(name, min(limit, left), environment)
            for what, status, figures in rows:
                print(f"| {what} | {status} | {figures.replace('|', '/')} |".replace("\n", " "), flush=True)
                failed += status in (FAILED, "goal missed")
            if any(status != OK for _, status, _ in rows) and printed:
                told.append(f"\n-- {name}\n{printed[-4000:]}")
    print(f"\n{time.monotonic() - began:.0f} s, {'in the simulator' if simulate else 'on the device'}, {failed} failed")
    print("".join(told))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
