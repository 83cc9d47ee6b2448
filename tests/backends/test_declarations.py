"""Options of ``@convfuzz.backend``: each is checked when it is given, and the message has the option, the value and what is allowed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convfuzz
from convfuzz import Case, InvalidConfig, Numerics
from convfuzz.backends.kernels.declaration import _ATTRIBUTE, Declaration
from convfuzz.errors import UsageError
from convfuzz.verdicts import Verdict


def kernel(x: Any, w: Any, b: Any, config: Any) -> Any:
    """Compute the convolution by the reference."""
    return convfuzz.reference(config, x, w, b).y.astype(x.dtype)


def declared(**options: Any) -> Declaration:
    """Return what is declared of a kernel."""
    found = getattr(convfuzz.backend(**options)(lambda *operands: operands), _ATTRIBUTE)
    assert isinstance(found, Declaration)
    return found


BAD: list[tuple[dict[str, Any], str]] = [
    ({"environment": "A=1"}, "environment='A=1' is not a mapping of environment variables to texts, such as {'TRITON_INTERPRET': '1'}"),
    ({"environment": {"A": 1}}, "environment={'A': 1}: the value 1 of A is not a text; write 'A': '1'"),
    ({"environment": {"A=1": "2"}}, "'A=1' is no name of an environment variable"),
    ({"compile": "nvcc"}, "compile='nvcc' is not a function of the configuration; what it returns is the kernel's argument 'compiled'"),
    ({"compile_timeout": 0}, "compile_timeout=0 is not a number of seconds above 0"),
    ({"compile_timeout": "60s"}, "compile_timeout='60s' is not a number of seconds above 0"),
    ({"own_process": "yes"}, "own_process='yes' is not True or False"),
    ({"enviroment": {"A": "1"}}, "(closest: 'environment')"),
    ({"dtypes": ("flaot32",)}, "dtypes=('flaot32',): 'flaot32' is not one of 'float64', 'float32', "),
    ({"dtypes": ("flaot32",)}, "(closest: 'float32')"),
    ({"dtypes": (np.float32,)}, "(closest: 'float32')"),
    ({"dtypes": "float32"}, "dtypes='float32' is not several values, as dtypes=('float32',) is: expected some of"),
    ({"dtypes": ()}, "dtypes=() is empty: expected some of 'float64'"),
    ({"dtypes": None}, "dtypes=None is not several values"),
    ({"dims": 2}, "dims=2 is not several values, as dims=(2,) is: expected some of 1, 2, 3"),
    ({"dims": (4,)}, "dims=(4,): 4 is not one of 1, 2, 3"),
    ({"dims": ("2",)}, "dims=('2',): '2' is not one of 1, 2, 3"),
    ({"dims": (True,)}, "dims=(True,): True is not one of 1, 2, 3"),
    ({"dims": (2.0,)}, "dims=(2.0,): 2.0 is not one of 1, 2, 3"),
    ({"ops": "conv"}, "ops='conv' is not several values, as ops=('conv',) is: expected some of 'conv', 'conv_transpose'"),
    ({"ops": ("conv2d",)}, "ops=('conv2d',): 'conv2d' is not one of 'conv', 'conv_transpose' (closest: 'conv')"),
    ({"ops": []}, "ops=[] is empty"),
    ({"numerics": "fast"}, "numerics='fast' is neither a convfuzz.Numerics nor a function of the configuration"),
    ({"numerics": {"inputs": "tfloat32"}}, "is neither a convfuzz.Numerics"),
    ({"numerics": False}, "numerics=False is neither a convfuzz.Numerics"),
    ({"supports": True}, "supports=True is not a function of the configuration, such as supports=lambda config: config.groups == 1"),
    ({"supports": "groups == 1"}, "supports='groups == 1' is not a function"),
    ({"gradients": "autograd"}, "gradients='autograd' is neither a function gradients(x, w, b, dy, config) nor True nor False"),
    ({"gradients": None}, "gradients=None is neither"),
    ({"tensors": "troch"}, "tensors='troch' is not one of numpy, torch, tensorflow (closest: 'torch')"),
    ({"tensors": ["torch"]}, "tensors=['torch'] is not one of numpy, torch, tensorflow"),
    ({"device": 0}, "device='0' is not the name of a device, such as 'cpu', 'cuda' or 'cuda:1'"),
    ({"device": "cuda"}, "device='cuda' with tensors='numpy': only torch tensors are moved; tensors='torch' does it"),
    ({"out": 1}, "out=1 is not True or False, nor 'strided'"),
    ({"out": True, "tensors": "tensorflow"}, "out=True with tensors='tensorflow': its tensors cannot be written to"),
    ({"rejects_invalid": "yes"}, "rejects_invalid='yes' is not True or False"),
    ({"versions": "3.2"}, "versions='3.2' is not a mapping of names to texts"),
    ({"versions": {"triton": 3.2}}, "versions={'triton': 3.2} is not a mapping of names to texts"),
    ({"share": 0}, "share=0 is not above 0 and at most 1"),
    ({"share": float("nan")}, "share=nan is not above 0 and at most 1"),
    ({"share": "half"}, "share='half' is not above 0 and at most 1"),
    ({"share": True}, "share=True is not above 0 and at most 1"),
    ({"dtype": ("float32",)}, "dtype=('float32',) is no option of @convfuzz.backend: expected tensors, device, ops"),
    ({"dtype": ("float32",)}, "(closest: 'dtypes')"),
    ({"suports": kernel}, "(closest: 'supports')"),
]


@pytest.mark.parametrize(("options", "said"), BAD)
def test_a_bad_option_is_refused_where_it_is_given(options: dict[str, Any], said: str) -> None:
    """The decorator raises at once, before any kernel or case is seen."""
    with pytest.raises(InvalidConfig) as raised:
        convfuzz.backend(**options)
    assert said in str(raised.value)


def test_the_decorator_needs_parentheses_and_a_function() -> None:
    """Without parentheses, or on what cannot be called, it says so."""
    with pytest.raises(InvalidConfig, match=r"write its options in parentheses, or @convfuzz.backend\(\) without any"):
        convfuzz.backend(kernel)  # type: ignore[arg-type]
    with pytest.raises(InvalidConfig, match=r"is for a function kernel\(x, w, b, config\), not for 'kernels.py::mine'"):
        convfuzz.backend()("kernels.py::mine")  # type: ignore[type-var]


def test_what_is_given_is_kept_in_its_plain_form() -> None:
    """Numbers of any library and any collection are taken, in the order of the allowed values."""
    found = declared(dims=np.array([3, 2]), dtypes={"float16", "float32"}, ops=["conv"], share=np.float32(0.5))
    assert (found.dims, found.dtypes, found.ops, found.share) == ((2, 3), ("float32", "float16"), ("conv",), 0.5)
    assert {type(dims) for dims in found.dims or ()} == {int}
    assert declared(numerics=lambda _: Numerics()).dims is None


def test_a_torch_device_is_a_name() -> None:
    """A ``torch.device`` is taken for its name."""
    torch = pytest.importorskip("torch", reason="PyTorch's devices")
    assert declared(tensors="torch", device=torch.device("cuda", 1)).device == "cuda:1"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (True, Verdict.AGREE),
        (None, Verdict.AGREE),
        (np.True_, Verdict.AGREE),
        (False, Verdict.UNSUPPORTED),
        (np.False_, Verdict.UNSUPPORTED),
        ("no", Verdict.UNSUPPORTED),
        (1, Verdict.ERROR),
        (0, Verdict.ERROR),
    ],
)
def test_an_answer_that_is_none_declines_nothing(answer: Any, verdict: Verdict) -> None:
    """What ``supports`` returns is a yes, a no or a reason, NumPy's included; anything else is the kernel's error, and no silent no."""
    answering = convfuzz.backend(supports=lambda _: answer)(functools.partial(kernel))
    result = convfuzz.check("conv1d_c1_o1_i1_k1_f32", [answering])
    assert result.results[0].verdict is verdict
    if verdict is Verdict.ERROR:
        assert f"supports returned {answer}: expected True or None to accept, False or a reason to decline" in result.results[0].reason


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda case: convfuzz.check(case, "torch"), "backends='torch' is one backend, or none: write a list of them"),
        (lambda case: convfuzz.check(case, kernel), "is one backend, or none: write a list of them"),
        (lambda case: convfuzz.check(case, None), "backends=None is one backend, or none"),
        (lambda case: convfuzz.check(case, [None]), "None is neither a backend's name, a backend, nor a kernel"),
        (lambda case: convfuzz.check(case, []), "no backend to compare with the reference"),
        (lambda case: convfuzz.check(case, ["reference", "reference"]), "backend 'reference' is given twice"),
        (lambda case: convfuzz.check(case, [kernel, kernel]), "::kernel' is given twice"),
        (lambda case: convfuzz.check(case, ["torhc"]), "unknown backend 'torhc' (closest: 'torch')"),
        (lambda case: convfuzz.check(case.config, [kernel]), "is neither a case nor the line of one, such as 'conv2d_c8_o16_i9_k3_f32'"),
        (lambda case: convfuzz.check(case.config, [kernel]), ": Case(config) makes one of a configuration"),
        (lambda _: convfuzz.check(5, [kernel]), "5 is neither a case nor the line of one"),
        (lambda _: convfuzz.assert_agrees(None, kernel), "None is neither a case nor the line of one"),
        (lambda case: case.check(kernel, kernel), "is given twice"),
    ],
)
def test_what_check_cannot_check_is_named(call: Callable[[Any], Any], said: str) -> None:
    """Neither a single name for a list, nor a backend twice, nor what is no case passes for a check."""
    with pytest.raises(UsageError) as raised:
        call(Case.parse("conv1d_c1_o1_i1_k1_f32"))
    assert said in str(raised.value)
