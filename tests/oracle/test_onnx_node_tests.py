"""The reference against the node tests of Conv and ConvTranspose that come with the ONNX package."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
from onnx.backend.test.case.node import collect_testcases
from onnx.helper import get_attribute_value

from convfuzz.oracle import reference

from .samples import onnx_conv, onnx_conv_transpose

CONVERT = {"Conv": onnx_conv, "ConvTranspose": onnx_conv_transpose}
NODE_TESTS = (
    "test_basic_conv_with_padding",
    "test_basic_conv_without_padding",
    "test_conv_with_autopad_same",
    "test_conv_with_strides_and_asymmetric_padding",
    "test_conv_with_strides_no_padding",
    "test_conv_with_strides_padding",
    "test_convtranspose",
    "test_convtranspose_1d",
    "test_convtranspose_3d",
    "test_convtranspose_autopad_same",
    "test_convtranspose_dilations",
    "test_convtranspose_group_2",
    "test_convtranspose_group_2_image_3",
    "test_convtranspose_kernel_shape",
    "test_convtranspose_output_shape",
    "test_convtranspose_pad",
    "test_convtranspose_pads",
)


@pytest.mark.parametrize("name", NODE_TESTS)
def test_the_reference_reproduces_the_expected_output(name: str) -> None:
    """The expected output is met exactly: the node tests hold small integers, of which float32 represents every sum."""
    case = node_tests()[name]
    [node], [(inputs, [expected])] = case.model.graph.node, case.data_sets
    config = CONVERT[node.op_type](*inputs, **{attribute.name: get_attribute_value(attribute) for attribute in node.attribute})
    assert config.invalid_reason is None
    assert config.dtype == expected.dtype
    np.testing.assert_array_equal(reference(config, *inputs).y, expected)


def test_every_node_test_is_run() -> None:
    """The list above is all that the package has: no node test of either operator is left out."""
    assert sorted(node_tests()) == sorted(NODE_TESTS)


@cache
def node_tests() -> dict[str, Any]:
    """Return the package's node tests of the two operators by name.

    A test whose graph holds several nodes is one of another operator (CausalConvWithState) written out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other operators' examples overflow on purpose
        cases: list[Any] = collect_testcases(None)
    return {case.name: case for case in cases if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in CONVERT}
