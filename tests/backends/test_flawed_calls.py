"""Calls with a wrong operand or argument reach the framework as they are: what accepts one is the framework, and is known."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product

import pytest

from convfuzz import Case
from convfuzz.backends.registry import available, names
from convfuzz.case.line import FLAWS
from convfuzz.record.known_upstream import Signature, known_upstream

CALLS = ("conv2d", "convt1d")
COMPILED = "torch:compile"
"""Compiles the very call of `torch`, which is asked, in three seconds each."""
LAYERS = ("c2_o2_g2_i3_k2_p0:1", "c2_o2_g2_i3_k2_psame")


def lines() -> list[str]:
    """Return a case of each flaw that a call can have, with all that it can have."""
    return [
        f"{call}_{layer}_b_f32_bad-{flaw}@zeros"
        for call, layer, flaw in product(CALLS, LAYERS, FLAWS)
        if flaw != "output-length" or call.startswith("convt")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_who_accepts_a_flawed_call_is_known_to(block: int) -> None:
    """An adapter that reorders an operand by its proper shape, or writes an argument anew, would mend the flaw: it has to decline."""
    asked = [name for name in names() if available(name) is None and name != COMPILED][block::4]
    command = [sys.executable, "-m", "convfuzz", "check", "-", "--json", "--backends", ",".join(asked)]
    done = subprocess.run(command, input="\n".join(lines()), capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(lines()), done.stderr
    unknown = [
        f"{result['backend']}: {result['verdict']} {checked['case']}"
        for checked in found
        for result in checked["results"]
        if result["failing"]
        and not known_upstream().explaining(
            Signature(result["backend"], result["verdict"], result["pass"], result["model"]), Case.parse(checked["case"]), {}
        )
    ]
    assert not unknown
