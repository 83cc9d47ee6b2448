"""Bugs that are planted into a framework's function, and a runner of programs with them; imports nothing of convfuzz.

``python plants.py JOBS`` runs each program of a JSON list in a copy of one process that has imported the framework, and prints
a JSON list of how each ended and what it printed.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def doubled(original: Function) -> Function:
    """Every result twice as large."""
    return lambda *operands, **options: original(*operands, **options) * 2


def infinite(original: Function) -> Function:
    """Inf in place of every result above 0."""
    return lambda *operands, **options: original(*operands, **options) * float("inf")


def rounded_inputs(original: Function) -> Function:
    """PyTorch's operands rounded to bfloat16 first."""
    return lambda x, w, *rest, **options: original(x.bfloat16().to(x.dtype), w.bfloat16().to(w.dtype), *rest, **options)


def shortened(original: Function) -> Function:
    """The first site of the last axis is missing."""
    return lambda *operands, **options: original(*operands, **options)[..., 1:]


def widened(original: Function) -> Function:
    """PyTorch's result in float64."""
    return lambda *operands, **options: original(*operands, **options).double()


def raising(original: Function) -> Function:
    """An exception whose text would be much in Markdown."""
    del original

    def planted(*operands: Any, **options: Any) -> Any:
        raise ValueError("planted: ```\n# @someone #12 <script>alert(1)</script> [x](http://example.com) | \x1b[31m")

    return planted


def accepting(original: Function) -> Function:
    """Arguments that are invalid give the input back."""

    def planted(x: Any, *rest: Any, **options: Any) -> Any:
        try:
            return original(x, *rest, **options)
        except Exception:  # noqa: BLE001 - that is the bug
            return x

    return planted


def wobbling(original: Function) -> Function:
    """Every second result is off by a part in ten million."""
    calls = [0]

    def planted(*operands: Any, **options: Any) -> Any:
        calls[0] += 1
        return original(*operands, **options) * (1 + 1.2e-7 * (calls[0] % 2))

    return planted


def emptying(original: Function) -> Function:
    """PyTorch's input is zero afterwards."""

    def planted(x: Any, *rest: Any, **options: Any) -> Any:
        y = original(x, *rest, **options)
        x.zero_()
        return y

    return planted


def doubled_gradient(original: Function) -> Function:
    """PyTorch's gradient of the input is twice as large, the result as it should be."""
    return lambda x, *rest, **options: original(x * 2 - x.detach(), *rest, **options)


def aborting(original: Function) -> Function:
    """The process ends."""
    return lambda *operands, **options: os.abort() or original(*operands, **options)  # type: ignore[func-returns-value]


def hanging(original: Function) -> Function:
    """Nothing comes back for a minute."""
    return lambda *operands, **options: time.sleep(60) or original(*operands, **options)  # type: ignore[func-returns-value]


def hoarding(original: Function) -> Function:
    """Two thirds of a gibibyte are filled."""
    return lambda *operands, **options: len(b"\1" * 7 * 10**8) and original(*operands, **options)


def model_doubled(original: Function) -> Function:
    """A session or an evaluator whose results are twice as large."""

    class Planted(original):  # type: ignore[misc, valid-type]
        def run(self, *arguments: Any, **options: Any) -> Any:
            return [y * 2 for y in super().run(*arguments, **options)]

    return Planted


def core_doubled(original: Function) -> Function:
    """OpenVINO's core, which compiles weights twice as large."""

    class Planted(original):  # type: ignore[misc, valid-type]
        def compile_model(self, *arguments: Any, **options: Any) -> Any:
            compiled = super().compile_model(*arguments, **options)
            run = compiled.__class__.__call__
            return type("Doubled", (), {"__call__": lambda _, x: {0: run(compiled, x)[0] * 2}, "output": compiled.output})()

    return Planted


def plant(what: str) -> None:
    """Plant a bug, such as ``torch.nn.functional:conv2d=doubled``."""
    module_name, _, rest = what.partition(":")
    function, _, bug = rest.partition("=")
    module = importlib.import_module(module_name)
    setattr(module, function, globals()[bug](getattr(module, function)))


def _run(job: dict[str, str], log: int) -> int:
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        if job["plant"]:
            plant(job["plant"])
            os.environ["PLANT"] = job["plant"]  # for a process that the program starts
        runpy.run_path(job["program"], run_name="__main__")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 - whatever ends a program
        traceback.print_exc()
        return 1
    return 0


def _forked(job: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if not child:
            status = _run(job, log.fileno())
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        ended = os.waitpid(child, 0)[1]
        log.seek(0)
        return {"status": os.waitstatus_to_exitcode(ended), "printed": log.read().decode(errors="replace")}


if __name__ == "__main__":
    with open(sys.argv[1]) as file:  # noqa: PTH123 - the standard library's first module for it
        jobs = json.load(file)
    for name in sys.argv[2:]:
        importlib.import_module(name)
    sys.stdout.write(json.dumps([_forked(job) for job in jobs]))
