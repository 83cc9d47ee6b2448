"""Arguments are checked when a strategy is made, and the message names the argument and its value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import find
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument

from convfuzz.strategies import batches, cases, configs, recipes

BAD_OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"strides": (1, 2)}, r"strides=\(1, 2\) is no option of configs\(\): expected ops, dims, dtypes"),
    "not a collection": ({"dims": 2}, r"dims=2 is not several values, as dims=\(2,\) is: expected some of 1, 2, 3"),
    "a string": (
        {"dtypes": "float32"},
        r"dtypes='float32' is not several values, as dtypes=\('float32',\) is: expected some of 'float32', 'float64'",
    ),
    "empty": ({"layouts": ()}, r"layouts=\(\) is empty: expected some of 'contiguous'"),
    "unknown value": ({"dims": (2, 4)}, r"dims=\(2, 4\): 4 is not one of 1, 2, 3"),
    "an operation": ({"ops": ("conv2d",)}, r"ops=\('conv2d',\): 'conv2d' is not one of 'conv', 'conv_transpose'"),
    "a dtype": ({"dtypes": ["uint8"]}, r"dtypes=\['uint8'\]: 'uint8' is not one of 'float32', 'float64'"),
    "transposed without zeros": (
        {"ops": ["conv_transpose"], "padding_modes": ["reflect"]},
        r"padding_modes=\('reflect',\) with ops=\('conv_transpose',\): a transposed convolution pads with zeros",
    ),
    "a mode": ({"padding_modes": ["same"]}, r"padding_modes=\['same'\]: 'same' is not one of 'zeros', 'reflect'"),
    "true for 1": ({"dims": (True,)}, r"dims=\(True,\): True is not one of 1, 2, 3"),
    "1 for true": ({"bias": (1,)}, r"bias=\(1,\): 1 is not one of False, True"),
    "a misspelt value": ({"dtypes": ["flaot32"]}, r"'flaot32' is not one of .* \(closest: 'float32'\)"),
    "a misspelt option": ({"dtype": ("float32",)}, r"dtype=\('float32',\) is no option of configs\(\): .* \(closest: 'dtypes'\)"),
    "a number of another library that is a bool": ({"max_stride": np.True_}, r"max_stride=np\.True_ is not a whole number"),
    "too few operations": ({"max_flops": 99}, r"max_flops=99 is not a whole number of at least 100"),
    "too few elements": ({"max_elements": 0}, r"max_elements=0 is not a whole number of at least 8"),
    "a fraction": ({"max_flops": 1e6}, r"max_flops=1000000.0 is not a whole number"),
    "no batch": ({"max_batch": 0}, r"max_batch=0 is not a whole number of at least 1"),
    "true for a bound": ({"max_stride": True}, r"max_stride=True is not a whole number"),
    "not a bool": ({"empty": "no"}, r"empty='no' is not a bool"),
    "none": ({"invalid": None}, r"invalid=None is not a bool"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_option(name: str) -> None:
    """configs() and cases() reject the option at once."""
    options, message = BAD_OPTIONS[name]
    with pytest.raises(InvalidArgument, match=message):
        configs(**options)
    with pytest.raises(InvalidArgument, match=message):
        cases(**options)


def test_bad_regimes() -> None:
    """recipes() and cases() reject an unknown regime, none, and a string."""
    with pytest.raises(InvalidArgument, match=r"regimes=\('normal', 'odd'\): 'odd' is not one of integers, normal"):
        recipes(regimes=("normal", "odd"))
    with pytest.raises(InvalidArgument, match=r"regimes=\[\] is empty"):
        cases(regimes=[])
    with pytest.raises(InvalidArgument, match=r"regimes='normal' is not a collection of integers"):
        recipes(regimes="normal")


@pytest.mark.parametrize("count", [0, 11, 2.0, True])
def test_bad_number_of_recipes(count: Any) -> None:
    """batches() rejects a number of recipes that the regimes cannot fill."""
    with pytest.raises(InvalidArgument, match=f"recipes={count!r} is not a whole number in 1 … 10"):
        batches(configs(), recipes=count)


@pytest.mark.parametrize("share", [-0.1, 1.5, "third", True])
def test_bad_share_of_gradients(share: Any) -> None:
    """batches() rejects a share of gradients that is none."""
    with pytest.raises(InvalidArgument, match=f"grad_share={share!r} is not a number in 0 … 1"):
        batches(configs(), grad_share=share)


def test_bad_gradients() -> None:
    """cases() rejects another answer than true or false, and what leaves nothing to draw."""
    with pytest.raises(InvalidArgument, match=r"grad=True is not several values, as grad=\(True,\) is: expected some of False, True"):
        cases(grad=True)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"grad=\(\) is empty: expected some of False, True"):
        cases(grad=())
    with pytest.raises(InvalidArgument, match=r"dtypes=\('int8',\) with regimes=.* and grad=\(True,\) leave nothing to draw"):
        cases(dtypes=("int8",), grad=(True,))
    with pytest.raises(InvalidArgument, match=r"dtypes=\('complex64', 'int32'\) with regimes=\('special',\) and .* leave nothing to draw"):
        cases(dtypes=("complex64", "int32"), regimes=("special",))


def test_value_for_a_strategy() -> None:
    """batches() rejects a value in place of a strategy."""
    with pytest.raises(InvalidArgument, match="configs=3 is not a strategy"):
        batches(3)  # type: ignore[arg-type]
    assert batches(st.nothing()) is not None


def test_whole_numbers_of_any_library() -> None:
    """Numbers of NumPy are taken for Python's, one by one and in arrays, and draw the same."""
    ours = configs(dims=(2, 3), max_stride=2, max_batch=4)
    theirs = configs(dims=np.array([2, 3]), max_stride=np.int64(2), max_batch=np.array(4))  # type: ignore[typeddict-item]
    assert find(ours, lambda c: c.dims == 3) == find(theirs, lambda c: c.dims == 3)
    assert batches(configs(), recipes=np.int64(2)) is not None
