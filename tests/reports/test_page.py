"""The HTML report: what it says, and what it never does."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from convfuzz.cli.options import Duration
from convfuzz.errors import UnreadableFile, UsageError
from convfuzz.record.confirmation import Confirmation, Step, Tally
from convfuzz.record.run_directory import Run
from convfuzz.reports import html, render_html
from convfuzz.reports.commands import rerun
from convfuzz.verdicts import Verdict

SECTIONS = ("asked", "findings", "matrix", "tolerance", "coverage", "skips", "time", "environment")
BLOCKS = ("td", "th", "dt", "dd", "li", "p", "h1", "h2", "h3", "h4", "figcaption")
EVIL = "</script><img src=x onerror=\"alert('x')\"><!--"


class Elements(HTMLParser):
    """Collects the elements of a page, its text, and the text of each section."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._hidden = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.found.append((tag, dict(attrs)))
        self._hidden = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        """Note its end."""
        self._hidden = False
        if tag in BLOCKS:
            self.text.append(" ")

    def handle_data(self, data: str) -> None:
        """Note its text."""
        if not self._hidden:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of every element of one kind."""
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def words(self) -> str:
        """All text, with single spaces."""
        return " ".join("".join(self.text).split())


def section(page: str, name: str) -> str:
    """Return the text of one section."""
    match = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    assert match is not None
    return Elements(match[0]).words


def heading(page: str) -> str:
    """Return the text above the sections."""
    match = re.search(r"<header.*?</header>", page, re.DOTALL)
    assert match is not None
    return Elements(match[0]).words


def test_the_verdict_comes_first(full: Run, full_page: str) -> None:
    """The first lines say how many causes there are, in how many backends, then each framework's, a kernel first, and on what."""
    words = heading(full_page)
    assert f"{len(full.causes)} causes of failure in 5 backends" in words
    for name, label in (("kernels.py::my_conv", "my_conv"), ("tensorflow", "tensorflow"), ("torch", "torch")):
        backend = full.summary.backends[name]
        count = sum(finding.backend.partition(":n")[0].partition("+")[0] == name for finding in full.findings)
        assert f"{label}: {count} causes in {backend.compared} compared cases of {len(backend.coverage.configs)} configurations" in words
    assert words.index("my_conv: ") < words.index("torch: ") < words.index("tensorflow: ")
    assert "torch+split in " in words
    assert "400 cases · 4 cases not run · 60 s" in words
    assert "The planted canary was caught 12 of 12 times." in words


def test_a_clean_run_says_how_many_backends_it_compared(clean: Run) -> None:
    """No findings is said with what was compared, in the heading and where the table would be."""
    page = render_html([clean])
    assert "No findings in 5 backends" in heading(page)
    assert "No backend failed on any case" in section(page, "findings")


def test_nothing_compared_is_never_green(empty: Run) -> None:
    """A run in which nothing was compared says that it proves nothing."""
    page = render_html([empty])
    assert "Nothing was compared: this proves nothing" in heading(page)
    assert 'class="tone good"' not in page


def test_a_missed_canary_is_alarming(synthetic: ModuleType, tmp_path: Path) -> None:
    """A canary that was not caught every time makes the run untrustworthy, and the page says so."""
    run = Run.load(synthetic.write_campaign(tmp_path, cases=20, canary=synthetic.Canary(12, 9)))
    page = render_html([run])
    assert "caught only 9 of 12 times" in heading(page)
    assert 'class="tone small bad"' in page
    assert 'class="tone good"' not in page


@pytest.mark.parametrize(
    ("stopped", "words"), [("", "goes on, or died"), ("interrupted", "was interrupted"), ("error: OSError: no space left", "no space left")]
)
def test_an_unusual_end_is_said(synthetic: ModuleType, tmp_path: Path, stopped: str, words: str) -> None:
    """A run that goes on, was interrupted, or failed says so at the top."""
    run = Run.load(synthetic.write_campaign(tmp_path, cases=5, stopped=stopped))
    assert words in heading(render_html([run]))


@pytest.mark.parametrize("name", SECTIONS)
def test_an_empty_section_says_why_it_is_empty(empty: Run, name: str) -> None:
    """Every section is there in an empty run too, with a sentence."""
    assert re.search(r"\w{4,}.*\.|convfuzz run", section(render_html([empty]), name))


def test_every_finding_has_a_row_and_a_linked_section(full: Run, full_page: str) -> None:
    """Each fingerprint is a link in the table to the element of that name."""
    elements = Elements(full_page)
    targets = {attributes.get("id") for attributes in elements.all("details")}
    links = {attributes.get("href") for attributes in elements.all("a")}
    for finding in full.findings:
        assert finding.fingerprint in targets
        assert f"#{finding.fingerprint}" in links
        assert finding.reason in elements.words


def test_a_finding_shows_its_evidence(full_page: str) -> None:
    """The section has shapes, arithmetic, worst elements, tolerances that would pass, the first case and both commands."""
    words = section(full_page, "findings")
    assert "(2, 1, 3, 3)" in words
    assert "⌊(5 + 2 + 2 − (2·(3 − 1) + 1)) / 1⌋ + 1 = 5" in words
    assert "[0, 1, 4, 2] -1.20717 1.22593 +2.43" in words
    assert "rtol needed 2.02" in words
    assert "conv2d_n4_c12_o24_g4_i31x7_k3_p2_d2_b_f32_cl@normal.3" in words
    assert "convfuzz check conv2d_c2_o2_g2_i5_k3_p2_d2_f32@normal.3 --backends kernels.py::my_conv" in words
    assert "def main() -> None:" in words
    assert "not reproduced" in words
    assert "TF32 inputs explains it" in words


def test_a_finding_says_what_running_it_again_showed(full: Run, full_page: str) -> None:
    """The table and the sections tell confirmed, flaky with its rate, not reproduced, and what takes other runs before it."""
    words = section(full_page, "findings")
    assert "flaky 3 of 8" in words
    assert "flaky: failed in 3 of 8 fresh processes" in words
    assert "confirmed: failed in 5 of 5 fresh processes" in words
    assert "not reproduced: failed in 0 of 8 fresh processes, and 0 of 2 times after what had run before it" in words
    case = "conv1d_c3_o1_i40_k3_p4_d4_pmreflect_bf16"
    assert f"{case} no output – – 2 after 2 runs" in words
    assert "depends on what ran before: failed 2 of 2 times after 2 other runs, 0 of 2 times alone" in finding_of(full_page, full, case)


def test_a_history_is_shown_in_its_order_with_a_command_that_runs_it(full_page: str) -> None:
    """The runs that have to come first are listed, and the command runs all of them in one process."""
    words = section(full_page, "findings")
    first, second = "conv2d_n2_c3_o2_i5_k3_f32@normal.7", "conv1d_c3_o1_i40_k3_f32@normal.3"
    listed = "In one process and in this order; alone, the case does not fail. None of them can be left out."
    assert f"{listed} torch {first} torch+split {second} See it again" in words
    assert f"convfuzz check {first} {second} conv1d_c3_o1_i40_k3_p4_d4_pmreflect_bf16 --backends torch,torch+split" in words


def finding_of(page: str, run: Run, case: str) -> str:
    """Return the text of the section of the finding on ``case``."""
    fingerprint = next(f.fingerprint for f in run.findings if f.case == case)
    match = re.search(rf'<details class="finding" id="{fingerprint}".*?<h4>See it again</h4>', page, re.DOTALL)
    assert match is not None
    return Elements(match[0]).words


def test_a_finding_shows_the_nearest_case_that_passes(full: Run, full_page: str) -> None:
    """Beside the minimal case there is its companion with what the two differ in, or why there is none, as text."""
    words = finding_of(full_page, full, "conv2d_c1_o1_i2_k2_s2_p1_f32@integers.7")
    assert "boundary fails at stride 2, works at 1: conv2d_c1_o1_i2_k2_p1_f32@integers.7" in words
    assert "nothing more can be taken away; its data are as drawn: x has 70 parts none of which can be zero" in words
    words = finding_of(full_page, full, "conv3d_c1_o1_i1x3x3_k1x1x3_s1x1x2_p0x0x1:2_f16@special.9")
    assert "boundary no passing case is known: none of <b>4</b> neighbouring cases passes" in words
    assert "boundary" not in finding_of(full_page, full, "conv2d_c2_o2_g2_i5_k3_p2_d2_f32@normal.3")


def test_findings_that_look_the_same_name_one_another(synthetic: ModuleType, tmp_path: Path) -> None:
    """Modes of one framework that fail alike on one case are one cause, which names them; another framework's is another."""
    backends = ("torch", "torch:nn", "tensorflow")
    found = [synthetic.finding("conv1d_c1_o1_i3_k3_f32@integers.0", backend=backend) for backend in backends]
    page = render_html([Run.load(synthetic.write_campaign(tmp_path, cases=5, found=found))])
    assert "2 causes of failure in 3 backends" in heading(page)
    members = re.findall(r'<li id="(\w+)"><span class="id">', page)
    assert members == [found[1].fingerprint]
    assert f'<details class="finding" id="{found[1].fingerprint}"' not in page


def test_a_finding_in_a_gradient_names_its_pass(full: Run, full_page: str) -> None:
    """The table and the section say which pass is wrong, what it computes, and how its elements are indexed."""
    assert "wrong in grad_weight kernels.py::my_conv conv2d_n2_c4_o6_g2_i4x5_k3x2_s2_p1_f32_grad@integers.5" in section(
        full_page, "findings"
    )
    words = finding_of(full_page, full, "conv2d_n2_c4_o6_g2_i4x5_k3x2_s2_p1_f32_grad@integers.5")
    assert "The failing result is grad_weight, the gradient with respect to the weight." in words
    assert "grad_weight (6, 2, 3, 2) each element sums dy·x over the batch and all sites: up to 12 products" in words
    assert "Worst elements of grad_weight [out, in of the group, ky, kx] Expected Actual Difference [5, 1, 2, 0] -5 7 +12" in words
    assert "Worst elements of the output [n, c, y, x]" in finding_of(full_page, full, "conv2d_c2_o2_g2_i5_k3_p2_d2_f32@normal.3")


def test_the_worst_element_is_the_one_furthest_beyond_its_tolerance(full: Run, full_page: str) -> None:
    """Where a larger error is within its tolerance, the smaller one that is not is pointed at."""
    fingerprint = next(f.fingerprint for f in full.findings if f.model == "float16 accumulation")
    match = re.search(rf'id="{fingerprint}".*?<tr class="worst"><th scope="row">(.*?)</th>', full_page, re.DOTALL)
    assert match is not None
    assert match[1] == "[0, 0, 2]"


def test_complex_numbers_are_indexed_by_part(full: Run, full_page: str) -> None:
    """An element of a complex result is its real or its imaginary part, written as NumPy and PyTorch write it."""
    words = finding_of(full_page, full, "conv2d_c1_o1_i3_k2_c64@normal.1")
    assert "error / tolerance 3.2e6 at [0, 0, 1, 0].imag" in words
    assert "[0, 0, 1, 0].imag 0.75 -1 -1.75" in words
    assert "[0, 0, 0, 0].real 0.5 0.25 -0.25" in words


def test_integers_keep_their_digits(full: Run, full_page: str) -> None:
    """Values and differences of an integer dtype are whole numbers in full; where float64 has lost them, that is said."""
    words = finding_of(full_page, full, "conv1d_c1_o1_i3_k2_i32@huge.2")
    assert "max-abs 4294967295" in words
    assert "tolerance none: integers are exact" in words
    assert "rtol needed" not in words
    assert "[0, 0, 1] -2147483648 2147483647 +4294967295" in words
    assert "[0, 0, 0] ≈9.22e18 ≈9.22e18 1 or more" in finding_of(full_page, full, "conv1d_c1_o1_i1_k1_i64@huge.3")


def test_no_relative_tolerance_is_enough_where_zero_was_expected(full: Run, full_page: str) -> None:
    """An infinite relative tolerance is put in words."""
    words = finding_of(full_page, full, "convt3d_n-_c1_o2_i2_k2_b_f64_wtr_grad@positive.4")
    assert "rtol needed none is enough: 0 was expected atol needed 13.1" in words


def test_a_flawed_call_says_what_its_shapes_are(full: Run, full_page: str) -> None:
    """What is wrong with a call stands beside the configuration's shapes, which the call does not have."""
    words = finding_of(full_page, full, "conv2d_c3_o2_i4_k3_b_f32_cl_bad-input-channels")
    assert "It is no convolution: the input has one channel more than the weight takes." in words
    assert "The shapes are the configuration’s; the call differs from them in that alone." in words


def test_a_pass_that_does_not_exist_is_refused(synthetic: ModuleType, tmp_path: Path) -> None:
    """A journal or a finding that names a pass that does not exist is not read."""
    odd = msgspec.structs.replace(synthetic.findings()[0], in_pass=EVIL)
    directory = synthetic.write_campaign(tmp_path, cases=5, found=[odd])
    with pytest.raises(UnreadableFile, match=r"journal-w0\.jsonl, line \d+: not an event: Invalid enum value"):
        Run.load(directory)
    (directory / "journal-w0.jsonl").unlink()
    with pytest.raises(UnreadableFile, match="is not a finding: Invalid enum value"):
        Run.load(directory)


def test_an_index_that_no_result_has_is_only_text(synthetic: ModuleType, tmp_path: Path) -> None:
    """A finding whose error is at an index outside of its result is shown all the same."""
    odd = msgspec.structs.replace(synthetic.findings()[0], discrepancy=synthetic.off(4, 3.0, index=(-7, 10**9)))
    directory = synthetic.write_campaign(tmp_path, cases=5, found=[odd])
    assert odd.fingerprint in section(render_html([Run.load(directory)]), "findings")


def test_the_rerun_command_is_complete(full_page: str) -> None:
    """Strategy, seed, backends and limits are in the command that runs the campaign again."""
    words = section(full_page, "asked")
    assert "convfuzz run --backends kernels.py::my_conv,torch,torch+split,torch:native,tensorflow" in words
    assert "--strategy everything --seed 20251123 --time 60s" in words


@pytest.mark.parametrize(("seconds", "text"), [(1_209_600.0, "1209600s"), (0.5, "0.5s"), (60, "60s"), (31_622_400.0, "31622400s")])
def test_a_length_of_time_has_no_exponent(synthetic: ModuleType, tmp_path: Path, seconds: float, text: str) -> None:
    """The command that repeats a run of weeks, or of the longest time allowed, has a time that the command line reads."""
    info = Run.load(synthetic.write_campaign(tmp_path, cases=5, found=[])).info
    asked = rerun(msgspec.structs.replace(info, arguments={"time": seconds}))
    assert asked.endswith(f"--time {text}")
    assert Duration().convert(text, None, None) == seconds


def test_the_matrix_is_symmetric_and_includes_the_reference(full_page: str) -> None:
    """Every backend meets every other and the reference, once for all dtypes and once for each."""
    tables = re.findall(r'<table class="matrix">.*?</table>', full_page, re.DOTALL)
    captions = re.findall(r'<table class="matrix">\s*<caption>([\w ]*?) <', full_page)
    assert captions == ["every dtype", "float64", "float32", "bfloat16", "float16", "complex64", "int32", "int8"]
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in tables[0].split("<tr>")[2:]]
    assert len(rows) == 6
    assert rows == [list(column) for column in zip(*rows, strict=True)]
    assert 'scope="row">reference' in tables[0]


def test_a_matrix_cell_names_its_case(full: Run, full_page: str) -> None:
    """Each number in the matrix carries the case that gave it and how many comparisons it is the worst of."""
    worst = max(full.summary.pairs.values(), key=lambda pair: pair.max_abs)
    assert f"worst on {worst.case}" in full_page


def test_distributions_count_every_comparison(full: Run, full_page: str) -> None:
    """A backend's histogram accounts for exact comparisons, those within the tolerance and those beyond it."""
    found = full.summary.backends["torch"]
    within = sum(n for power, n in found.ratios.items() if power < 0)
    assert f'aria-label="torch: {found.exact} results exact, {within} within the tolerance, 0 beyond it"' in full_page
    assert found.exact + within == found.passes.total()


def test_values_that_were_never_drawn_are_shown(full_page: str) -> None:
    """Coverage lists a regime that no case had."""
    assert re.search(r"never: [^:]*subnormal", section(full_page, "coverage"))


def test_every_axis_of_the_search_space_is_counted(full: Run, full_page: str) -> None:
    """Coverage has a table for each axis that the summary knows, whatever they are, and for the regimes."""
    captions = re.findall(r'<table class="axis">\s*<caption>(.*?)</caption>', full_page)
    assert captions == ["regime", *full.summary.coverage]
    assert {"op", "weight layout", "output padding", "call"} <= set(captions)


def test_skips_carry_their_reason(full: Run, full_page: str) -> None:
    """Reasons are rows and backends columns, with a total below; cases that nobody ran have a table of their own."""
    words = section(full_page, "skips")
    split, tensorflow = (full.summary.backends[name].skips.total() for name in ("torch+split", "tensorflow"))
    assert "tensors and results take more than 4 GiB 4 1.0 %" in words
    assert "Reason torch+split tensorflow" in words
    assert f"more than 64 kernels to split, over the budget of a round {split} –" in words
    assert f"tensorflow has no transposed 3-D convolution – {tensorflow}" in words
    assert re.search(rf"of 400 cases {split}.* {tensorflow}", words)


def test_results_are_counted_by_pass(full: Run, full_page: str) -> None:
    """Each backend has its compared results per pass, and says where it computed none."""
    words = section(full_page, "tolerance")
    found = full.summary.backends["tensorflow"]
    assert "Backend forward grad_input grad_weight grad_bias" in words
    assert f"tensorflow {found.passes['forward']} {found.passes['grad_input']} {found.passes['grad_weight']} none {found.exact}" in words


def test_the_matrix_says_what_it_is_of(full_page: str) -> None:
    """Its title says that it is the forward pass, its text which data are left out."""
    words = section(full_page, "matrix")
    assert words.startswith("Max-abs discrepancies of the forward pass")
    assert "Tiny, huge, subnormal and special data would drown the rest and are not in here" in words


def test_text_from_outside_is_inert(synthetic: ModuleType, tmp_path: Path) -> None:
    """Markup in a backend's name, a reason, a version, a script or a machine's name is text, not markup."""
    evil = msgspec.structs.replace(
        synthetic.findings()[0], backend=f"k.py::{EVIL}", reason=EVIL, model=EVIL, features=[f"op={EVIL}"], versions={EVIL: EVIL},
        confirmation=Confirmation(alone=Tally(0, 5), after=Tally(5, 5), preceding=[Step(EVIL, "conv1d_c1_o1_i1_k1_f32")]),
    )  # fmt: skip
    directory = synthetic.write_campaign(
        tmp_path, cases=30, found=[evil], backends=[f"k.py::{EVIL}", "torch"], machine={EVIL: EVIL}, strategy=EVIL, stopped=f"error: {EVIL}"
    )
    (directory / "repro" / f"{evil.fingerprint}.py").write_text(f"# {EVIL}\n", encoding="utf-8")
    page = render_html([Run.load(directory)])
    elements = Elements(page)
    assert elements.all("img") == []
    assert len(elements.all("script")) == 1
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert EVIL in elements.words


def test_the_policy_allows_only_the_pages_own_style_and_script(full_page: str) -> None:
    """Nothing may load from anywhere, and the two inline blocks are allowed by their hashes."""
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', full_page)
    assert policy is not None
    said = policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in said
    assert "unsafe" not in said
    for tag in ("style", "script"):
        block = re.search(rf"<{tag}>(.*?)</{tag}>", full_page, re.DOTALL)
        assert block is not None
        digest = base64.b64encode(hashlib.sha256(block[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in said


def test_the_page_refers_to_nothing_outside(full_page: str) -> None:
    """No address, no style attribute that the policy would refuse, and links within the page only."""
    elements = Elements(full_page)
    assert not [a for _, a in elements.found if "style" in a or "src" in a]
    assert all((a["href"] or "").startswith(("#", "data:")) for _, a in elements.found if "href" in a)


def test_the_same_run_gives_the_same_page(full: Run, full_page: str) -> None:
    """A report is a function of its runs: rendering twice gives the same bytes."""
    assert html([full]) == full_page.encode()


def test_ids_are_unique_and_headers_have_a_scope(full_page: str) -> None:
    """Assistive technology finds one element per id, a scope on each header cell and a caption on each table."""
    elements = Elements(full_page)
    ids = [a["id"] for _, a in elements.found if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a.get("scope") in ("col", "row") for a in elements.all("th"))
    assert len(elements.all("table")) == len(elements.all("caption"))


def test_runs_are_merged(synthetic: ModuleType, full: Run, tmp_path: Path) -> None:
    """Two runs add up, and a finding of both is one finding seen in two runs."""
    again = Run.load(synthetic.write_campaign(tmp_path, cases=50, found=synthetic.findings()[:2], seed=2))
    page = render_html([again, full])
    assert f"{len(full.causes)} causes of failure in 5 backends" in heading(page)
    assert "2 runs · " in heading(page)
    assert "5 cases not run" in heading(page)
    assert "in 2 of 2 runs" in section(page, "findings")
    assert full.summary.cases == 400


def test_a_finding_that_only_the_journal_knows_is_shown(synthetic: ModuleType, tmp_path: Path) -> None:
    """A run that died while it minimised shows the finding, and says that it is not minimised."""
    one = synthetic.findings()[0]
    directory = synthetic.write_campaign(tmp_path, cases=5, found=[one], stopped="")
    (directory / "findings" / f"{one.fingerprint}.json").unlink()
    words = section(render_html([Run.load(directory)]), "findings")
    assert one.fingerprint in words
    assert "only the journal knows" in words


def many(synthetic: ModuleType, number: int) -> list[object]:
    """Return many findings with short scripts."""
    found = synthetic.findings()
    return [
        msgspec.structs.replace(found[i % len(found)], fingerprint=f"{i:08x}", backend=f"kernels.py::conv_{i % 50}", count=1)
        for i in range(number)
    ]


def test_more_findings_than_fit_are_counted(synthetic: ModuleType, tmp_path: Path) -> None:
    """Beyond 500 rows and 40 sections the page says what it leaves out and where that is, and stays below a megabyte."""
    run = Run.load(synthetic.write_campaign(tmp_path, cases=5, found=many(synthetic, 2100)))
    page = render_html([run])
    words = section(page, "findings")
    assert len(run.causes) > 1000
    assert f"The page holds the first 500 of {len(run.causes):,} causes" in words
    assert "40 of them, some of every kind, are described below" in words
    assert len(re.findall(r'<details class="finding"', page)) == 40
    assert len(page.encode()) < 1_000_000


def test_sections_go_to_every_kind_of_finding_first(synthetic: ModuleType, tmp_path: Path) -> None:
    """A rare kind of failure, be it only by its pass, has a section even if a frequent one alone would fill the page."""
    frequent = synthetic.findings()[0]
    found = [msgspec.structs.replace(frequent, fingerprint=f"{i:08x}") for i in range(100)]
    rare = msgspec.structs.replace(frequent, fingerprint="abcdef01", in_pass="grad_bias")
    page = render_html([Run.load(synthetic.write_campaign(tmp_path, cases=5, found=[*found, rare]))])
    assert f'<details class="finding" id="{rare.fingerprint}"' in page


def test_a_long_run_fits_in_a_small_page(synthetic: ModuleType, tmp_path: Path, full_page: str) -> None:
    """The page of 3,000 cases is as small as that of 400: it holds sums, not events."""
    page = render_html([Run.load(synthetic.write_campaign(tmp_path, cases=3_000, found=synthetic.findings()))])
    assert len(page.encode()) < min(500_000, 1.1 * len(full_page.encode()))


def test_every_verdict_has_a_meaning(full_page: str) -> None:
    """The glossary explains each failing verdict."""
    words = Elements(full_page).words
    for verdict in Verdict:
        if verdict.failing:
            assert verdict in words


def test_no_run_is_refused() -> None:
    """A report on nothing is a usage error."""
    with pytest.raises(UsageError, match="at least one run"):
        render_html([])


def test_bug_report_is_there_to_be_copied(synthetic: ModuleType, tmp_path: Path) -> None:
    """A finding's section holds its bug report as text with a button to copy it; one without has no place for it."""
    with_report, without = synthetic.findings()[:2]
    directory = synthetic.write_campaign(tmp_path, cases=5, found=[with_report, without])
    (directory / "repro" / f"{with_report.fingerprint}.md").write_text("# torch: wrong <b>result</b>\n", encoding="utf-8")
    page = render_html([Run.load(directory)])
    assert page.count("a bug report</summary>") == 1
    label = f'aria-label="Bug report of {with_report.fingerprint}"'
    assert f'data-copy tabindex="0" {label}><code># torch: wrong &lt;b&gt;result&lt;/b&gt;' in page
