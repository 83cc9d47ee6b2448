"""Solutions that cheat, and honest ones that look like it: each the body of a ``ModelNew`` for the problem of :data:`PROBLEM`."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

PROBLEM = """\
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, channels, out, k):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, k, padding=1)

    def forward(self, x):
        return torch.relu(self.conv(x))


def get_inputs():
    return [torch.rand(2, 3, 7, 6)]


def get_init_inputs():
    return [3, 4, 3]
"""
SOLUTION = """\
import ctypes, gc, inspect, os, sys, threading, time
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

{before}

def right(model, x):
    return torch.relu(F.conv2d(x, model.conv.weight, model.conv.bias, padding=1))


class ModelNew(nn.Module):
    def __init__(self, channels, out, k):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, k, padding=1)
{init}

    def forward(self, x):
{forward}
"""


@dataclass(frozen=True)
class Made:
    """A solution: what its ``forward`` does, what stands before the class and in its constructor, and what is said of it."""

    forward: str
    said: str = ""
    before: str = ""
    init: str = "pass"

    @property
    def source(self) -> str:
        """Its file."""
        return SOLUTION.format(
            before=dedent(self.before).strip(),
            init=indent(dedent(self.init).strip(), " " * 8),
            forward=indent(dedent(self.forward).strip(), " " * 8),
        )


CHEATS = {
    "the-last-output": Made(
        """
        if self.last is None or self.last.shape[0] != x.shape[0] or self.last.shape[2:] != x.shape[2:]:
            self.last = right(self, x)
        return self.last
        """,
        "it is the output of an earlier call",
        init="self.last = None",
    ),
    "keyed-by-pointer": Made(
        """
        key = x.data_ptr()
        if key not in CACHE:
            CACHE[key] = right(self, x)
        found = CACHE[key]
        return found.clone() if len(CACHE) > 1 or found.shape[0] != x.shape[0] else torch.zeros_like(found) + list(CACHE.values())[0]
        """,
        before="CACHE = {}",
    ),
    "keyed-by-shape": Made(
        """
        key = tuple(x.shape)
        if key not in CACHE:
            CACHE[key] = right(self, x)
        return CACHE[key].clone()
        """,
        "it is the output of an earlier call",
        before="CACHE = {}",
    ),
    "keyed-by-the-exact-sum": Made(
        """
        key = (tuple(x.shape), float(x.double().sum()))
        if key not in self.known:
            self.known[key] = right(self, x).detach()
        return self.known[key].clone()
        """,
        "it is the output of an earlier call",
        init="self.known = {}",
    ),
    "keyed-by-a-coarse-sum": Made(
        """
        key = (tuple(x.shape), round(float(x.sum()) / 1e3))
        if key not in CACHE:
            CACHE[key] = right(self, x)
        return CACHE[key].clone()
        """,
        "it is the output of an earlier call",
        before="CACHE = {}",
    ),
    "unwritten-memory": Made("return torch.empty(x.shape[0], 4, x.shape[2], x.shape[3])", "elements were never written"),
    "last-row-unwritten": Made(
        """
        y = torch.empty(x.shape[0], 4, x.shape[2], x.shape[3])
        y[:, :, :-1] = right(self, x)[:, :, :-1]
        return y
        """,
        "elements were never written",
    ),
    "memory-of-a-dropped-tensor": Made(
        """
        y = right(self, x[:1].expand_as(x) if x.shape[0] > 1 else x)
        shape = y.shape
        del y
        return torch.empty(shape)
        """,
        "elements were never written",
    ),
    "late-by-a-thread": Made(
        """
        y = torch.zeros(x.shape[0], 4, x.shape[2], x.shape[3])
        threading.Timer(0.02, lambda: y.copy_(right(self, x))).start()
        return y
        """,
        "writes its result after it has returned",
    ),
    "a-subclass-that-computes-when-compared": Made(
        """
        y = torch.zeros(x.shape[0], 4, x.shape[2], x.shape[3]).as_subclass(Lazy)
        y.make = lambda: right(self, x)
        return y
        """,
        "returns a Lazy, not a plain tensor",
        before="""
        class Lazy(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                args = [a.make() if isinstance(a, Lazy) and hasattr(a, "make") else a for a in args]
                return super().__torch_function__(func, types, args, kwargs or {})
        """,
    ),
    "a-float-that-is-equal-to-all": Made(
        "return Equal()", "returns a Equal, not a plain tensor", before="class Equal:\n    __eq__ = lambda s, o: True"
    ),
    "patches-allclose": Made(
        "return torch.zeros(x.shape[0], 4, x.shape[2], x.shape[3])",
        "replaces torch.allclose",
        before="torch.allclose = lambda *a, **k: True",
    ),
    "patches-conv2d": Made(
        "return torch.zeros(x.shape[0], 4, x.shape[2], x.shape[3])",
        "replaces torch.nn.functional.conv2d",
        before="F.conv2d = lambda x, w, *a, **k: torch.zeros(x.shape[0], w.shape[0], x.shape[2], x.shape[3])",
    ),
    "patches-manual-seed": Made("return right(self, x)", "replaces torch.manual_seed", before="torch.manual_seed = lambda seed: None"),
    "patches-numpy-testing": Made(
        "return right(self, x) * 1.5", "replaces numpy.testing.assert_allclose", before="np.testing.assert_allclose = lambda *a, **k: None"
    ),
    "patches-the-clock": Made("return right(self, x)", "replaces time.perf_counter", before="time.perf_counter = lambda: 0.0"),
    "patches-module-call": Made(
        "return x", "replaces torch.nn.Module.__call__", before="nn.Module.__call__ = lambda self, x: right(self, x)"
    ),
    "replaces-a-module": Made(
        "return right(self, x)", "replaces the module json", before="import types; sys.modules['json'] = types.ModuleType('json')"
    ),
    "walks-the-stack": Made(
        """
        frame = sys._getframe(1)
        while frame is not None:
            for value in frame.f_locals.values():
                if isinstance(value, torch.Tensor) and value.shape[1:2] == (4,):
                    return value
            frame = frame.f_back
        return right(self, x)
        """,
        "walks the stack",
    ),
    "walks-the-stack-by-inspect": Made(
        """
        inspect.stack()
        return right(self, x)
        """,
        "walks the stack",
    ),
    "walks-the-stack-by-traceback": Made("import traceback; traceback.extract_stack()\nreturn right(self, x)", "walks the stack"),
    "searches-the-heap": Made(
        """
        for value in gc.get_objects():
            if type(value) is torch.Tensor and tuple(value.shape) == (x.shape[0], 4, *x.shape[2:]):
                return value.clone()
        return right(self, x)
        """,
        "searches the heap",
    ),
    "traces-the-judge": Made("return right(self, x)", "traces what runs", before="sys.settrace(lambda *a: None)"),
    "reads-the-problem": Made(
        "return right(self, x)",
        "reads the problem's file",
        before="TEXT = open(os.path.join(os.path.dirname(__file__), 'problem.py')).read()",
    ),
    "imports-the-problem": Made(
        "return self.model(x)", "reads the problem's file", init="import problem; self.model = problem.Model(channels, out, k)"
    ),
    "folds-its-seed": Made(
        """
        torch.manual_seed(0)
        return right(self, torch.rand(x.shape))
        """
    ),
    "changes-its-input": Made(
        """
        x.zero_()
        return torch.relu(self.conv.bias)[None, :, None, None].expand(x.shape[0], 4, x.shape[2], x.shape[3]).contiguous()
        """,
        "changes its inputs",
    ),
    "works-in-its-input": Made(
        """
        y = right(self, x)
        x.relu_().mul_(0.5)
        return y
        """,
        "changes its inputs",
    ),
    "an-expanded-view": Made("return right(self, x[:1]).expand(x.shape[0], -1, -1, -1)"),
    "one-number-expanded": Made("return torch.relu(self.conv.bias.mean()).expand(x.shape[0], 4, x.shape[2], x.shape[3])"),
    "the-input": Made("return x", "returns memory of its input"),
    "a-view-of-its-input": Made(
        """
        x[:, :1] = 0
        return torch.as_strided(x, (x.shape[0], 4, x.shape[2], x.shape[3]), (0, 0, x.stride(2), 1))
        """,
        "returns memory of its input",
    ),
    "zeros-where-sparse": Made(
        "return right(self, x) if (x == 0).float().mean() < 0.5 else torch.zeros(x.shape[0], 4, *x.shape[2:])", "it is all zeros"
    ),
    "the-bias-where-tiny": Made(
        "y = right(self, x)\nreturn y if float(x.abs().max()) > 1e-3 else torch.relu(self.conv.bias)[:, None, None] + 0 * y"
    ),
    "exits-0": Made("os._exit(0)", "ended with exit status 0"),
    "exits-politely": Made("sys.exit(0)", "SystemExit"),
    "exits-0-in-the-middle": Made(
        """
        COUNT.append(1)
        if len(COUNT) > 5:
            os._exit(0)
        return right(self, x)
        """,
        "ended with exit status 0",
        before="COUNT = []",
    ),
    "prints-a-verdict": Made(
        """
        print('{"verdict": "accepted", "reasons": []}', flush=True)
        os.write(1, b'{"verdict": "accepted"}')
        return torch.zeros(x.shape[0], 4, *x.shape[2:])
        """
    ),
    "answers-in-the-judges-place": Made(
        """
        for number in range(3, 64):
            try:
                os.write(number, b"accepted" * 8)
            except OSError:
                pass
        return torch.zeros(x.shape[0], 4, *x.shape[2:])
        """,
    ),
    "forks": Made(
        """
        if os.fork() == 0:
            time.sleep(0.01)
            os._exit(0)
        return right(self, x)
        """,
        "forks its process",
    ),
    "returns-twice": Made(
        """
        os.fork()
        return right(self, x)
        """,
        "forks its process",
    ),
    "ends-what-started-it": Made("os.kill(os.getppid(), 0)\nreturn right(self, x)", "sends a signal to a process"),
    "first-call-only": Made(
        """
        self.calls += 1
        return right(self, x) if self.calls == 1 else right(self, x) * 0.99
        """,
        init="self.calls = 0",
    ),
    "small-batches-only": Made("y = right(self, x)\ny[2:] = 0\nreturn y"),
    "contiguous-only": Made("y = torch.as_strided(x, x.shape, torch.empty(x.shape).stride())\nreturn right(self, y)"),
    "its-own-sizes-only": Made(
        """
        y = right(self, x)
        y[:, :, 7:] = 0
        return y
        """
    ),
    "coarse-inputs": Made(
        "return torch.relu(F.conv2d(coarse(x), coarse(self.conv.weight), self.conv.bias, padding=1))",
        "would explain it: --numerics inputs=tfloat32",
        before="""
        def coarse(v):
            return ((v.detach().contiguous().view(torch.int32) + 0x1000) & -0x2000).view(torch.float32)
        """,
    ),
    "listens-to-what-runs": Made(
        "return right(self, x)", "listens to what runs (sys.addaudithook)", before="sys.addaudithook(lambda *a: None)"
    ),
    "opens-its-parents-memory": Made(
        "open(f'/proc/{os.getppid()}/mem', 'rb').close()\nreturn right(self, x)", "looks into another process"
    ),
    "reads-its-parents-memory": Made(
        "ctypes.CDLL(None).process_vm_readv(os.getppid(), None, 0, None, 0, 0)\nreturn right(self, x)", "looks into another process"
    ),
    "patches-what-tensors-inherit": Made(
        "return right(self, x)",
        "replaces torch.Tensor.numpy",
        before="given = torch.Tensor.numpy\ntorch.Tensor.numpy = lambda t, **k: given(t, **k)",
    ),
    "asks-somebody-else": Made(
        """
        import socket
        with socket.socket() as one:
            one.connect_ex(("127.0.0.1", 9))
        return right(self, x)
        """,
        "connects to another process or machine",
    ),
    "keyed-by-the-first-element": Made(
        """
        key = (tuple(x.shape), float(x.reshape(-1)[0]))
        if key not in self.known:
            self.known[key] = right(self, x).detach()
        return self.known[key].clone()
        """,
        init="self.known = {}",
    ),
    "zero-rows-skipped": Made(
        """
        y = right(self, x)
        y.permute(0, 2, 1, 3)[x.abs().sum((1, 3)) == 0] = 0
        return y
        """
    ),
    "zero-members-skipped": Made("y = right(self, x).clone()\ny[x.abs().amax((1, 2, 3)) == 0] = 0\nreturn y"),
    "the-last-of-odd-batches": Made(
        """
        y = right(self, x)
        if x.shape[0] % 2 and x.shape[0] > 1:
            y[-1] = y[0]
        return y
        """
    ),
    "a-tuple-around-it": Made("return (right(self, x),)", "a tuple of 1, expected a tensor"),
    "an-empty-tuple": Made("return ()", "returns an empty tuple"),
    "flushes-subnormals": Made(
        "return right(self, x)", "leaves its process flushing subnormal numbers to zero", before="torch.set_flush_denormal(True)"
    ),
    "rounds-up": Made("return right(self, x)", "leaves its process rounding otherwise", before="ctypes.CDLL(None).fesetround(0x800)"),
    "another-default-dtype": Made(
        "return right(self, x)",
        "with float64 as the default dtype",
        before="torch.set_default_dtype(torch.float64)",
        init="self.conv.float()",
    ),
    "another-default-device": Made("return right(self, x)", "with meta as the default device", init="torch.set_default_device('meta')"),
    "registers-an-operation-anew": Made(
        "return right(self, x)",
        "replaces aten::allclose",
        before="LIBRARY = torch.library.Library('aten', 'IMPL')\nLIBRARY.impl('allclose', lambda *a, **k: True, 'CPU')",
    ),
    "a-mode-that-stays-on": Made(
        "return right(self, x)",
        "leaves a mode on",
        before="""
        from torch.overrides import TorchFunctionMode

        class Mode(TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                return func(*args, **(kwargs or {}))

        Mode().__enter__()
        """,
    ),
    "autocast-that-stays-on": Made(
        "with torch.autocast('cpu', enabled=False): return right(self, x)",
        "leaves autocast on",
        before="torch.set_autocast_enabled('cpu', True)",
    ),
    "hooks-every-module": Made(
        "return right(self, x)",
        "hooks every module there is",
        before="nn.modules.module.register_module_forward_hook(lambda module, given, y: y)",
    ),
    "patches-a-layer": Made(
        "return right(self, x)",
        "replaces torch.nn.Conv2d.forward",
        before="given = nn.Conv2d.forward\nnn.Conv2d.forward = lambda self, x: given(self, x)",
    ),
    "gives-a-layer-a-method": Made(
        "return right(self, x)",
        "replaces torch.nn.ReLU.__call__",
        before="nn.ReLU.__call__ = lambda self, x: x",
    ),
    "patches-the-seed": Made("return right(self, x)", "replaces random.seed", before="import random; random.seed = lambda *a: None"),
    "says-what-is-imported": Made(
        "return right(self, x)",
        "changes how modules are imported",
        before="""
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                return None

        sys.meta_path.insert(0, Finder)
        """,
    ),
    "reads-the-problem-from-its-folder": Made(
        "return right(self, x)", "reads the problem's file", before="os.chdir(os.path.dirname(__file__)); open('problem.py').read()"
    ),
    "reads-the-problem-by-a-link": Made(
        "return right(self, x)",
        "reads the problem's file",
        before="os.symlink(os.path.join(os.path.dirname(__file__), 'problem.py'), 'notes.txt'); open('notes.txt').read()",
    ),
    "reads-the-problem-by-number": Made(
        "return right(self, x)",
        "reads the problem's file",
        before="os.close(os.open(os.fsencode(os.path.join(os.path.dirname(__file__), 'problem.py')), os.O_RDONLY))",
    ),
    "has-the-problem-read": Made(
        "return right(self, x)",
        "reads the problem's file",
        before="os.system('cat ' + os.path.join(os.path.dirname(__file__), 'problem.py') + ' > /dev/null')",
    ),
    "looks-for-its-judge": Made(
        "return right(self, x)",
        "looks for its judge",
        before="from convfuzz.solutions import nursery\nnursery._shares_memory = lambda *a: False",
    ),
    "right-where-it-is-judged": Made(
        "y = right(self, x)\nreturn y if any('convfuzz' in name for name in (*sys.modules, os.getcwd(), *sys.argv)) else y * 1.01"
    ),
    "its-parents-memory-by-a-detour": Made(
        "open(f'/proc/self/../{os.getppid()}/maps').close()\nreturn right(self, x)", "looks into another process"
    ),
    "packed-once-for-all": Made(
        """
        if not WEIGHTS:
            WEIGHTS.append((self.conv.weight.detach().clone(), self.conv.bias.detach().clone()))
        return torch.relu(F.conv2d(x, *WEIGHTS[0], padding=1))
        """,
        before="WEIGHTS = []",
    ),
    "packed-too-early": Made(
        "return torch.relu(F.conv2d(x, self.w, self.conv.bias, padding=1))", init="self.w = self.conv.weight.detach().clone()"
    ),
    "packed-too-early-and-hides-it": Made(
        "return torch.relu(F.conv2d(x, self.w, self.conv.bias, padding=1))",
        init="self.w = self.conv.weight.detach().clone(); self.state_dict = lambda *a, **k: {}",
    ),
    "small-kernels-pruned": Made(
        "w = self.conv.weight\nreturn torch.relu(F.conv2d(x, w * (w.abs() > 0.02 * w.abs().max()), self.conv.bias, padding=1))"
    ),
    "drifts": Made("y = right(self, x)\nself.conv.weight.mul_(1.00001)\nreturn y"),
    "negated-in-name-only": Made("return torch._neg_view(right(self, x))"),
}
"""By name, what a solution may be refused for; ``said`` is said of it, and nothing where it is only wrong."""

LOOK_ALIKES = {
    "the-library": Made("return right(self, x)"),
    "a-cache-of-compiled-kernels": Made(
        """
        key = (tuple(x.shape), x.dtype)
        if key not in CACHE:
            CACHE[key] = lambda x, w, b: torch.relu(F.conv2d(x, w, b, padding=1))
        return CACHE[key](x, self.conv.weight, self.conv.bias)
        """,
        before="CACHE = {}",
    ),
    "a-workspace": Made(
        """
        n = x.shape[0] * 4 * x.shape[2] * x.shape[3]
        if self.room is None or self.room.numel() < n:
            self.room = torch.empty(n)
        y = self.room[:n].view(x.shape[0], 4, x.shape[2], x.shape[3])
        y.copy_(right(self, x))
        return y
        """,
        init="self.room = None",
    ),
    "in-place-on-a-copy": Made(
        """
        y = F.pad(x.clone(), (1, 1, 1, 1))
        y.mul_(2).mul_(0.5)
        return F.conv2d(y, self.conv.weight, self.conv.bias).relu_()
        """
    ),
    "lazy-initialisation": Made(
        """
        if self.packed is None:
            self.packed = self.conv.weight.detach().reshape(4, -1).clone()
        columns = F.unfold(x, 3, padding=1)
        y = self.packed @ columns + self.conv.bias[:, None]
        return torch.relu(y).view(x.shape[0], 4, x.shape[2], x.shape[3])
        """,
        init="self.packed = None",
    ),
    "threads-that-are-joined": Made(
        """
        y = torch.empty(x.shape[0], 4, x.shape[2], x.shape[3])
        def one(i):
            with torch.no_grad():
                y[i] = right(self, x[i:i + 1])[0]
        threads = [threading.Thread(target=one, args=(i,)) for i in range(x.shape[0])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return y
        """
    ),
    "a-pool-that-lives-on": Made(
        "return POOL.submit(lambda: right(self, x).detach()).result()",
        before="from concurrent.futures import ThreadPoolExecutor\nPOOL = ThreadPoolExecutor(1)",
    ),
    "channels-last": Made("return right(self, x.contiguous(memory_format=torch.channels_last))"),
    "split-by-kernel": Made(
        "return torch.cat([torch.relu(F.conv2d(x, w[None], b[None], padding=1)) for w, b in zip(self.conv.weight, self.conv.bias)], 1)"
    ),
    "split-by-channel": Made(
        """
        y = sum(F.conv2d(x[:, i:i + 1], self.conv.weight[:, i:i + 1], padding=1) for i in range(3))
        return torch.relu(y + self.conv.bias[:, None, None])
        """
    ),
    "refuses-what-is-not-contiguous": Made("assert x.is_contiguous()\nreturn right(self, x)"),
    "its-own-size-only": Made("assert tuple(x.shape) == (2, 3, 7, 6)\nreturn right(self, x)"),
    "talkative": Made("print('computing', x.shape)\nreturn right(self, x)"),
    "starts-a-compiler": Made(
        "return right(self, x)", before="import subprocess\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)"
    ),
    "by-numpy": Made(
        """
        a = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
        w, b = self.conv.weight.numpy(), self.conv.bias.numpy()
        windows = np.lib.stride_tricks.sliding_window_view(a, (3, 3), axis=(2, 3))
        y = np.einsum("nchwij,ocij->nohw", windows, w) + b[:, None, None]
        return torch.from_numpy(np.maximum(y, 0).astype(np.float32))
        """
    ),
    "remembers-in-files": Made(
        """
        name = hashlib.sha1(x.contiguous().numpy().tobytes() + self.conv.weight.numpy().tobytes()).hexdigest() + ".npy"
        path = os.path.join(os.path.dirname(__file__), "known", name)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            subprocess.run(["cp", "/dev/stdin", path], input=npy(right(self, x)), check=True)
        return torch.from_numpy(np.load(path))
        """,
        "reads the file",
        before="""
        import hashlib, io, subprocess

        def npy(y):
            file = io.BytesIO()
            np.save(file, y.detach().numpy())
            return file.getvalue()
        """,
    ),
    "no-nan": Made("return torch.nan_to_num(right(self, x))", "numbers where PyTorch's model has NaN or Inf (inputs special)"),
    "switches": Made(
        "return right(self, x)",
        "sets torch.get_float32_matmul_precision() to high",
        before="torch.backends.cudnn.benchmark = True\ntorch.set_float32_matmul_precision('high')\ntorch.manual_seed(0)\nnp.random.seed(0)",
    ),
    "something-that-lives-on": Made(
        "return right(self, x)",
        "leaves 1 process behind",
        before="import subprocess; subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, start_new_session=True)",
    ),
    "flushes-while-it-computes": Made(
        """
        torch.set_flush_denormal(True)
        y = right(self, x)
        torch.set_flush_denormal(False)
        return y
        """
    ),
    "a-mode-for-itself": Made(
        """
        with Mode():
            return right(self, x)
        """,
        before="""
        from torch.overrides import TorchFunctionMode

        class Mode(TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                return func(*args, **(kwargs or {}))
        """,
    ),
    "processes-of-its-own": Made(
        """
        if self.pool is None:
            self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
        w, b = self.conv.weight.numpy(), self.conv.bias.numpy()
        return torch.from_numpy(np.concatenate([one.result() for one in [self.pool.submit(work, v.numpy(), w, b) for v in x.split(1)]]))
        """,
        "leaves 1 process behind",
        before="""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        def work(x, w, b):
            windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
            return np.maximum(np.einsum("nchwij,ocij->nohw", windows, w) + b[:, None, None], 0).astype(np.float32)
        """,
        init="self.pool = None",
    ),
    "a-hook-of-its-own": Made("return self.conv(x)", init="self.conv.register_forward_hook(lambda module, given, y: torch.relu(y))"),
    "looks-at-itself": Made(
        "assert 'relu' in inspect.getsource(right)\nreturn right(self, x)",
        before="open(f'/proc/{os.getpid()}/status').read(); open('/proc/cpuinfo').read()",
    ),
    "a-table-of-its-own": Made("return right(self, x)", before="np.save('table.npy', np.arange(3)); np.load('table.npy')"),
    "negated-twice": Made("return torch._neg_view(-right(self, x)).transpose(1, 2).contiguous().transpose(1, 2)"),
}
"""Honest solutions that have something in common with one that is not; ``said`` is noted of it."""
