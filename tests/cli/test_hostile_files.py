"""Run directories that somebody has crafted: data that are shown, and never run, loaded, followed or believed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from convfuzz.record.events import BackendEnded, BackendStarted, CaseEnded, CaseStarted, Event, FindingKept
from convfuzz.record.finding import Finding
from convfuzz.record.journal import JournalWriter
from convfuzz.record.run_directory import FindingLine, RunInfo, read_run_info, write_finding, write_run_info
from convfuzz.system.json_records import Real, encode
from convfuzz.verdicts import Discrepancy, Verdict

from .conftest import Call

LINE = "conv1d_c1_o1_i3_k3_f32@integers.0"
MARK = "pwned"
EVILS = {
    "markup": f'</script></style></code>--><img src=x onerror={MARK}()><script>{MARK}()</script>" onload="{MARK}()" \'',
    "template": "{{ 7 * 191 }}{% include 'x' %}${7 * 191}[bold red]rich[/][link=file:///etc/passwd]x[/link]",
    "markdown": f"](javascript:{MARK}) ![x](http://{MARK}/) `` ``` ~~~ | # h\n\n# {MARK}\n\n- [ ] @everyone <b>x</b>",
    "terminal": f"\x1b]0;{MARK}\x07\x1b[2J\x1b[31m\r\x08\x9b31m\u202e{MARK}\u2066\u2028\n[bold green]No findings.[/]",
    "shell": f"x; touch {MARK} #\n$(touch {MARK}) `touch {MARK}` '\"; touch {MARK}",
    "path": f"../../../{MARK}.py::main",
}
evils = pytest.mark.parametrize("evil", EVILS.values(), ids=EVILS)


def craft(directory: Path, evil: str, **info: Any) -> Path:
    """Write a run directory with ``evil`` in every text that it holds."""
    for name in ("findings", "repro"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    found = Discrepancy(elements=3, max_abs=Real(2.0), index=(0, 0, 0), expected=Real(1), actual=Real(3))
    events: list[Event] = [
        CaseStarted(LINE, 1.0),
        BackendStarted(evil),
        BackendEnded(
            backend=evil, verdict=Verdict.WRONG, seconds=0.1, reason=evil, model=evil, in_pass="grad_input",
            discrepancies={"grad_input": found, "forward": found},
            also={"forward": Verdict.WRONG},
        ),
        BackendEnded(backend=f"other {evil}", verdict=Verdict.UNSUPPORTED, seconds=0.0, reason=evil),
        CaseEnded(pairs=[(evil, f"other {evil}", Real(1.0))], skipped=evil),
        FindingKept(fingerprint="0123abcd", backend=evil, verdict=Verdict.WRONG, case=evil, minimal=LINE, model=evil),
        FindingKept(fingerprint="deadbeef", backend=evil, verdict=Verdict.WRONG, case=evil, minimal=LINE, model=evil, in_pass="grad_bias"),
        CaseStarted(LINE, 2.0),
        BackendStarted(f"died in {evil}"),
    ]  # fmt: skip
    with JournalWriter(directory, "0") as journal:
        for event in events:
            journal.write(event)
    write_finding(
        directory,
        Finding(
            fingerprint="0123abcd", verdict=Verdict.WRONG, backend=evil, case=LINE, first_case=LINE, model=evil, reason=evil,
            reduction=evil, features=[evil, f"{evil}={evil}"], discrepancy=found, versions={evil: evil},
        ),
    )  # fmt: skip
    (directory / "repro" / "0123abcd.py").write_text(f"raise SystemExit  # {evil}")
    (directory / "repro" / "0123abcd.md").write_text(f"# report {evil}")
    fields: dict[str, Any] = {
        "seed": 1, "strategy": evil, "backends": [evil, f"other {evil}"], "arguments": {evil: evil, "time": evil, "ledger": evil},
        "versions": {evil: evil}, "machine": {evil: evil}, "started": 1.0, "tool_version": evil, "stopped": evil, "exit_status": 1,
        "verdicts": {evil: {evil: 1}}, "skipped": {evil: {evil: 1}}, "backend_s": {evil: 1.0},
        "findings": [FindingLine("0123abcd", Verdict.WRONG, evil, evil, Real(2.0))],
    }  # fmt: skip
    write_run_info(directory, RunInfo(**(fields | info)))
    return directory


class Shape(HTMLParser):
    """What of a page a browser acts on: elements and attributes, not text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.scripts = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of an element."""
        self.elements.add(tag)
        self.scripts += tag == "script"
        self.attributes |= {(tag, name) for name, _ in attrs}
        for name, value in attrs:
            if name in ("href", "src", "action"):
                assert (value or "").startswith(("#", "data:image/svg+xml,")), value


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory like the crafted ones whose texts are harmless."""
    return craft(tmp_path_factory.mktemp("plain"), "harmless")


def unseen(text: str) -> list[str]:
    """Return the characters that a reader does not see, line breaks and tabs apart."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c not in "\n\t"]


@evils
def test_html_report(call: Call, plain: Path, tmp_path: Path, evil: str) -> None:
    """No text of a run adds an element, an attribute or a link to its page, hides, or is taken for a template."""
    assert call("report", str(plain), "--out", "plain.html").status == 0
    assert call("report", str(craft(tmp_path / "run", evil)), "--out", "evil.html").status == 0
    page = (tmp_path / "evil.html").read_text()
    harmless, crafted = Shape((tmp_path / "plain.html").read_text()), Shape(page)
    assert crafted.elements <= harmless.elements
    assert crafted.attributes <= harmless.attributes
    assert crafted.scripts == harmless.scripts == 1
    assert unseen(page) == []
    assert "1337" not in page.replace("--", "")


@evils
def test_markdown_summary(call: Call, tmp_path: Path, evil: str) -> None:
    """No text of a run adds a line, a heading, a link, a mention or an element to its summary, or steers the terminal."""
    assert call("report", str(craft(tmp_path / "run", evil)), "--format", "markdown", "--out", "run.md").status == 0
    text = (tmp_path / "run.md").read_text()
    outside = re.sub(r"(?ms)^(`{3,})sh\n.*?^\1$", "", text)
    assert unseen(text) == []
    assert [line for line in outside.splitlines() if line.startswith("#")] == [text.splitlines()[0]]
    for told in ("<img", "<script", "<b>", "@everyone", "](", "[ ]"):
        assert told not in outside


@evils
def test_nothing_is_loaded_or_run(apart: Call, tmp_path: Path, evil: str) -> None:
    """A report loads no backend that a run directory names, and runs neither its script nor anything else."""
    (tmp_path / "evil.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / MARK)!r}).touch()\n")
    run = craft(tmp_path / "run", evil, backends=["evil.py::f", "evil::f", "torch", evil], strategy="evil:f")
    (run / "repro" / "0123abcd.py").write_text((tmp_path / "evil.py").read_text())
    for form in ("html", "markdown"):
        called = apart("report", str(run), "--format", form)
        assert called.status == 0, called.stderr
        assert unseen(called.stdout + called.stderr) == []
    assert not list(tmp_path.rglob(MARK))


def test_frameworks_stay_unloaded(tmp_path: Path) -> None:
    """Not even a framework that is installed is imported for a report on it."""
    run = craft(tmp_path / "run", "torch")
    code = (
        "import sys\nfrom convfuzz import cli\nsys.argv = ['convfuzz', 'report', sys.argv[1]]\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n"
        "    print(stop.code, [m for m in ('torch', 'tensorflow', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "0 []"


# -- files that are not what they seem ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run.json", "journal-0.jsonl", "findings/0123abcd.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "device"])
def test_files_that_are_no_files(apart: Call, tmp_path: Path, name: str, kind: str) -> None:
    """A link, a pipe, a folder or a device in the place of a file is refused at once by its name."""
    run = craft(tmp_path / "run", "b")
    path = run / name
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    called = apart("report", str(run))
    assert called.status == 2
    assert path.name in called.stderr
    assert "Traceback" not in called.stderr


@pytest.mark.parametrize("where", ["repro/0123abcd.py", "repro/0123abcd.md", "repro"])
def test_script_that_is_a_link(call: Call, tmp_path: Path, where: str) -> None:
    """What a link in the place of a script or a bug report leads to does not get into the report."""
    run = craft(tmp_path / "run", "b")
    secret = tmp_path / "secret"
    (run / where).rename(secret)
    (secret / "0123abcd.py" if secret.is_dir() else secret).write_text("TOP SECRET KEY")
    (run / where).symlink_to(secret)
    assert call("report", str(run)).status == 0
    assert "TOP SECRET KEY" not in (run / "report.html").read_text()


def test_report_that_is_a_link(call: Call, tmp_path: Path) -> None:
    """A report that is written into a run directory replaces a link there and leaves alone what it leads to."""
    run = craft(tmp_path / "run", "b")
    (tmp_path / "precious").write_text("mine")
    (run / "report.html").symlink_to(tmp_path / "precious")
    assert call("report", str(run)).status == 0
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (run / "report.html").is_symlink()


@pytest.mark.parametrize("name", ["../../../elsewhere", "0123ABCD", "0123abcd\n", "0123abcde", ""])
def test_fingerprints_in_a_journal(call: Call, tmp_path: Path, name: str) -> None:
    """A fingerprint in a journal, which names files, is eight hex digits or the journal is refused."""
    run = craft(tmp_path / "run", "b")
    (tmp_path / "elsewhere.py").write_text("TOP SECRET KEY")
    with JournalWriter(run, "findings") as journal:
        journal.write(FindingKept(fingerprint=name, backend="b", verdict=Verdict.WRONG, case=LINE, minimal=LINE))
    called = call("report", str(run))
    assert called.status == 2
    assert "journal-findings.jsonl, line 2: not an event" in called.stderr


@pytest.mark.parametrize("field", ["in_pass", "discrepancies", "also"])
def test_passes_in_a_journal(call: Call, tmp_path: Path, field: str) -> None:
    """A pass in a journal is one of the passes that there are, or the journal is refused."""
    run = craft(tmp_path / "run", "b")
    told = {"in_pass": "sideways", "discrepancies": {"sideways": Discrepancy(elements=1)}, "also": {"sideways": "wrong"}}
    line = {"event": "end", "backend": "b", "verdict": "wrong", "seconds": 0.0, field: told[field]}
    with (run / "journal-0.jsonl").open("ab") as journal:
        journal.write(encode(line) + b"\n")
    called = call("report", str(run))
    assert called.status == 2
    assert "not an event: Invalid enum value 'sideways'" in called.stderr


def test_finding_under_another_name(call: Call, tmp_path: Path) -> None:
    """A finding whose file is not named by its fingerprint is refused: two could claim to be one."""
    run = craft(tmp_path / "run", "b")
    (run / "findings" / "0123abcd.json").rename(run / "findings" / "ffffffff.json")
    assert "a finding's file is named by its fingerprint" in call("report", str(run)).stderr


def test_file_in_the_place_of_the_findings(call: Call, tmp_path: Path) -> None:
    """A file called ``findings`` is an error and not a run without any, for the report and for ``replay``."""
    run = craft(tmp_path / "run", "b")
    (run / "findings").rename(run / "moved")
    (run / "findings").write_text("")
    for command in ("report", "replay"):
        called = call(command, str(run))
        assert called.status == 2
        assert "findings is not the folder of a run's findings: it is no folder" in called.stderr


def test_findings_that_were_not_copied(call: Call, tmp_path: Path) -> None:
    """A run directory that lost its findings on the way is an error and not a run without any; one that had none needs no folder."""
    run = craft(tmp_path / "run", "b")
    (run / "findings").rename(tmp_path / "left behind")
    for command in ("report", "replay"):
        called = call(command, str(run))
        assert called.status == 2
        assert "findings is not there, though run.json lists findings (1): copy the whole run directory" in called.stderr
    info = read_run_info(run)
    write_run_info(run, msgspec.structs.replace(info, findings=[], causes=[]))
    assert call("replay", str(run)).status == 0


@pytest.mark.parametrize("line", [b"x" * 2**22, b"[" * 2**19, b'{"event":"start","backend":"' + b"y" * 2**21 + b'"}'], ids=range(3))
def test_lines_without_measure(call: Call, tmp_path: Path, line: bytes) -> None:
    """A line of a journal that is far too long, or nested far too deep, is refused by its number."""
    run = craft(tmp_path / "run", "b")
    for end in (b"\n", b""):
        (run / "journal-1.jsonl").write_bytes(line + end)
        called = call("report", str(run))
        if end or len(line) > 2**20:
            assert called.status == 2
            assert "journal-1.jsonl, line 1" in called.stderr
        assert len(called.stderr) < 500


@pytest.mark.parametrize("name", ["run.json", "findings/0123abcd.json"])
def test_files_without_measure(call: Call, tmp_path: Path, name: str) -> None:
    """A file of terabytes, as it claims, is refused by its size and not read."""
    run = craft(tmp_path / "run", "b")
    with (run / name).open("ab") as file:
        file.truncate(2**40)
    called = call("report", str(run))
    assert called.status == 2
    assert f"has {2**40} bytes" in called.stderr


@pytest.mark.parametrize(
    "events",
    [
        [BackendEnded(backend="b", verdict=Verdict.WRONG, seconds=0.0)],
        [CaseEnded()],
        [CaseStarted("conv9d; rm -rf /", 1.0)],
        [CaseStarted(LINE, 1.0), CaseEnded(), CaseStarted("", 1.0)],
    ],
)
def test_stories_that_make_no_sense(call: Call, tmp_path: Path, events: list[Event]) -> None:
    """A journal that tells of ends without beginnings, or of cases that are none, is refused by its name."""
    run = craft(tmp_path / "run", "b")
    with JournalWriter(run, "1") as journal:
        for event in events:
            journal.write(event)
    called = call("report", str(run))
    assert called.status == 2
    assert "journal-1.jsonl" in called.stderr
    assert "Traceback" not in called.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("started", 1e300),
        ("started", -1e18),
        ("elapsed_s", 1e308),
        ("elapsed_s", -5.0),
        ("seed", 10**300),
        ("cases", -(10**18)),
        ("exit_status", 10**100),
        ("backends", []),
        ("backends", ["b"] * 1000),
    ],
)
def test_numbers_without_measure(call: Call, tmp_path: Path, field: str, value: object) -> None:
    """Numbers that no run has are shown or refused, and break nothing."""
    run = craft(tmp_path / "run", "b")
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | {field: value}))
    called = call("report", str(run))
    assert called.status in (0, 2)
    assert called.status == 0 or "run.json" in called.stderr


def test_case_without_measure(call: Call, tmp_path: Path) -> None:
    """A finding on a convolution larger than any memory is reported without being computed."""
    run = craft(tmp_path / "run", "b")
    huge = "conv3d_n999999999_c99999999999_o99999999999_i99999999999_k9999999999_s3_p99999999_f32@integers.0"
    finding = json.loads((run / "findings" / "0123abcd.json").read_text())
    (run / "findings" / "0123abcd.json").write_text(json.dumps(finding | {"case": huge, "first_case": huge}))
    assert call("report", str(run)).status == 0


def test_cases_are_printed_as_we_print_them(call: Call, tmp_path: Path) -> None:
    """A case is parsed and printed again, so that what surrounds it in a file is not pasted into a shell."""
    run = craft(tmp_path / "run", "b")
    finding = json.loads((run / "findings" / "0123abcd.json").read_text())
    (run / "findings" / "0123abcd.json").write_text(json.dumps(finding | {"case": f"\n {LINE}\n\n"}))
    assert call("report", str(run), "--format", "markdown").status == 0
    assert f"`{LINE}`" in (run / "report.md").read_text()
