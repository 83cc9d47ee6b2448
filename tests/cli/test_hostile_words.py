"""What a kernel says, in exceptions, reasons and names, where it is printed: seen, and not obeyed."""

from __future__ import annotations

import ast
from pathlib import Path

import msgspec
import pytest

from convfuzz import Finding, Verdict
from convfuzz.backends import resolve
from convfuzz.reproduction import reproduction_script
from convfuzz.system.safe_text import lines, one_line

from .conftest import Call
from .test_hostile_files import LINE, MARK, evils, unseen

HOSTILE = """
import convfuzz

EVIL = {evil!r}


def raises(x, w, b, config):
    raise RuntimeError(EVIL)


@convfuzz.backend(supports=lambda config: EVIL)
def declines(x, w, b, config): ...


def halves(x, w, b, config):
    raise ValueError("half a character: \\udc80 \\ud800")


@convfuzz.backend(supports=lambda config: "half a character: \\udc80")
def declines_in_halves(x, w, b, config): ...
"""


@pytest.mark.parametrize("text", ["plain", "Größe 3×3 → ∞", "path/to my/file.py::f", ""])
def test_readable_text_stays(text: str) -> None:
    """Letters, signs and spaces of any script are left as they are."""
    assert one_line(text) == lines(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"), ("a\r\nb", r"a\r\nb"), ("\x9b31m", r"\x9b31m"), ("\u202e", r"\u202e"), ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"), ("\x00", r"\x00"), ("\U000e0041", r"\U000e0041"),
    ],
)  # fmt: skip
def test_what_steers_is_shown(text: str, shown: str) -> None:
    """Control characters, changes of direction and halves of characters become escapes."""
    assert one_line(text) == shown


def test_lines_stay_and_are_indented() -> None:
    """Line breaks are kept where they may be, and no line but the first begins at the margin."""
    assert lines("one\ntwo\x07\nthree", indent=2) == "one\n  two\\x07\n  three"


@evils
def test_check_prints_what_a_kernel_says(call: Call, tmp_path: Path, evil: str) -> None:
    """Exceptions and reasons are printed in one piece and steer nothing."""
    (tmp_path / "hostile.py").write_text(HOSTILE.format(evil=evil))
    names = ("raises", "declines", "halves", "declines_in_halves")
    called = call("check", LINE, "--backends", ",".join(f"hostile.py::{name}" for name in names))
    assert called.status == 1
    assert unseen(called.stdout + called.stderr) == []
    assert "RuntimeError: " in called.stdout
    assert "half a character: \\udc80" in called.stdout
    assert not any(line.startswith(("No findings", "#")) for line in called.stdout.splitlines())
    assert [line.split()[1] for line in called.stdout.splitlines() if line.startswith("hostile.py::")] == ["error", "unsupported"] * 2


@evils
def test_errors_of_ours_print_what_they_quote(call: Call, evil: str) -> None:
    """An error that quotes what it was given shows it, and begins only one line at the margin."""
    called = call("report", f"no such {evil}".replace("\x00", ""))
    assert called.status == 2
    assert unseen(called.stderr) == []
    assert all(line.startswith("  ") for line in called.stderr.rstrip("\n").split("\n")[1:])


def scripted(finding: Finding) -> ast.Module:
    """Return the script of a finding, parsed."""
    source = reproduction_script(finding, resolve("reference")) or reproduction_script(finding, resolve("torch"))
    assert source is not None
    return ast.parse(source)


@evils
@pytest.mark.parametrize("field", ["backend", "model", "reason", "reduction", "versions", "features"])
def test_finding_changes_no_statement_of_its_script(evil: str, field: str) -> None:
    """Whatever a finding says, its script has the statements that it would have anyway, behind another docstring."""
    plain = Finding(fingerprint="0123abcd", verdict=Verdict.WRONG, backend="b", case=LINE, first_case=LINE)
    ends = f'{evil}"""\nimport os\nos.system("touch {MARK}")\n"""\\'
    value: object = {ends: ends} if field == "versions" else [ends] if field == "features" else ends
    harmless, crafted = scripted(plain), scripted(msgspec.structs.replace(plain, **{field: value}))
    assert isinstance(ast.get_docstring(crafted), str)
    assert [ast.dump(node) for node in crafted.body[1:]] == [ast.dump(node) for node in harmless.body[1:]]


@pytest.mark.parametrize("name", ["it's", 'a"b', "a\\b", "a b", "a{b}", "a\nimport os", "$(touch x)"])
def test_path_of_a_kernel_is_a_string_in_its_script(tmp_path: Path, name: str) -> None:
    """A kernel's folder may be called anything: the script loads that file and does nothing else."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "k.py").write_text("def f(x, w, b, config): return x\n")
    backend = resolve(f"{folder / 'k.py'}::f")
    finding = Finding(fingerprint="0123abcd", verdict=Verdict.WRONG, backend=backend.name, case=LINE, first_case=LINE)
    source = reproduction_script(finding, backend)
    assert source is not None
    strings = [node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert str(folder / "k.py") in strings
    assert not any(isinstance(node, ast.Import) and node.names[0].name == "os" for node in ast.walk(ast.parse(source)))
