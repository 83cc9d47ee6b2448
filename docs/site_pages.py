"""What the documentation site has beyond this folder: pages of the repository's root, and a report to play with."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

from convfuzz.record.run_directory import Run
from convfuzz.reports import html

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
CAMPAIGN = ROOT / "docs" / "examples" / "campaign"
REPORT = "examples/report.html"
FROM_ELSEWHERE = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Files outside of ``docs/`` and the pages that they are on the site. ``README.md`` is none: ``docs/index.md`` is there in its place."""

_A_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```$|(?:^(?: {4}[^\n]*)?\n)+)", re.MULTILINE | re.DOTALL)
_A_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):<code>~?")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root and the report, which today's code renders from a campaign that is kept."""
    for source, page in FROM_ELSEWHERE.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, REPORT, content=html([Run.load(CAMPAIGN)])))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """Lead links to where their targets are on the site."""
    return links_on_site(markdown, page.file.src_uri)


def on_page_content(content: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - MkDocs names them
    """Leave the roles of docstrings out, which are for Sphinx and editors."""
    return _A_ROLE.sub("<code>", content)


def links_on_site(markdown: str, page: str) -> str:
    """Return the text of a page with its links as they are on the site; a source file, which is not there, loses its link.

    Raises:
        PluginError: a link leads to no file of the checkout.
    """
    source = next((outside for outside, inside in FROM_ELSEWHERE.items() if inside == page != "index.md"), f"docs/{page}")

    def moved(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in FROM_ELSEWHERE:
            return f"[{text}]({posixpath.relpath(FROM_ELSEWHERE[path], posixpath.dirname(page) or '.')}{anchor})"
        if path.startswith("docs/"):  # MkDocs says whether it is there, and whether it has the anchor
            return f"[{text}]({posixpath.relpath(path.removeprefix('docs/'), posixpath.dirname(page) or '.')}{anchor})"
        if not (ROOT / path).exists():
            raise PluginError(f"{source}: the link to {target} leads nowhere: there is no {path}")
        return text if text.startswith("`") else f"`{text}`" if text == target else text

    return "".join(part if index % 2 else _A_LINK.sub(moved, part) for index, part in enumerate(_CODE.split(markdown)))
