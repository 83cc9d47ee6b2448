"""Reports: functions of folded journals.

Each format is one function from runs to the bytes of a file, found by name in the entry-point group
``convfuzz.reports``, so that a third party adds a format without touching this package. One that shows trends takes a
``history`` too.
"""

from __future__ import annotations

from collections.abc import Sequence

from convfuzz.record.nights import History
from convfuzz.record.run_directory import Run

__all__ = ["html", "junit", "markdown", "render_html", "render_markdown", "sarif"]


def render_html(runs: Sequence[Run], history: History | None = None) -> str:
    """Return one self-contained HTML page about ``runs``, merged: no network, no library, useful without scripts.

    It has the trends of ``history``, or of the runs themselves where there are several.

    Raises:
        UsageError: there is no run to report on.
    """
    from convfuzz.reports.formats import html as page  # noqa: PLC0415 - the chart renderer loads only for HTML

    return page.render(runs, history)


def render_markdown(runs: Sequence[Run], history: History | None = None) -> str:
    """Return a short summary of ``runs``, merged, for a job's log or a pull request, with what is new in ``history``.

    Raises:
        UsageError: there is no run to report on.
    """
    from convfuzz.reports.formats import markdown as job_summary  # noqa: PLC0415 - as above

    return job_summary.render(runs, history)


def html(runs: Sequence[Run], history: History | None = None) -> bytes:
    """Return the HTML report as a file's bytes."""
    return render_html(runs, history).encode()


def markdown(runs: Sequence[Run], history: History | None = None) -> bytes:
    """Return the Markdown summary as a file's bytes."""
    return render_markdown(runs, history).encode()


def junit(runs: Sequence[Run]) -> bytes:
    """Return ``runs``, merged, as JUnit XML for a CI server: each finding is a failing test.

    Raises:
        UsageError: there is no run to report on.
    """
    from convfuzz.reports.formats import junit as junit_xml  # noqa: PLC0415 - as above

    return junit_xml.render(runs)


def sarif(runs: Sequence[Run]) -> bytes:
    """Return ``runs``, merged, as SARIF 2.1.0 for code scanning: a finding of a kernel stands at the line of its function.

    Raises:
        UsageError: there is no run to report on.
    """
    from convfuzz.reports.formats import sarif as sarif_file  # noqa: PLC0415 - as above

    return sarif_file.render(runs)
