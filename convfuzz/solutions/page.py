"""The verdict as a page: one file, without a script, that opens anywhere."""

from __future__ import annotations

import jinja2

from convfuzz.solutions.judge import ACCEPTED, REJECTED, Judged
from convfuzz.system.safe_text import one_line

_TONES = {ACCEPTED: "good", REJECTED: "bad"}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ found.verdict }}: {{ found.solution }}</title>
<style>
:root { --ink: #1b1d22; --soft: #5a5f69; --line: #d9dce1; --paper: #fff; --bad: #b3261e; --doubt: #8a5300; --good: #1b6e37;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --soft: #a2a8b3; --line: #363a42; --paper: #15171b; --bad: #ff8f85; --doubt: #f0b860; --good: #74cf94; }
}
body { margin: 0 auto; padding: 3rem clamp(1rem, 4vw, 2.5rem) 4rem; max-width: 72rem; overflow-wrap: break-word;
  background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 2.25rem; line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 2.5rem 0 .6rem; font-size: 1.25rem; }
.bad { color: var(--bad); } .doubt { color: var(--doubt); } .good { color: var(--good); }
.soft { color: var(--soft); }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .875em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
</style>
</head>
<body>
<main>
<p class="soft">convfuzz judge</p>
<h1 class="{{ tone }}">{{ found.verdict }}</h1>
<p><code>{{ found.solution }}</code> for <code>{{ found.problem }}</code></p>
<ul>{% for reason in found.reasons %}<li>{{ reason | one_line }}</li>{% endfor %}</ul>
{% if found.notes %}<h2>Notes</h2><ul>{% for note in found.notes %}<li>{{ note | one_line }}</li>{% endfor %}</ul>{% endif %}
{% if found.least and found.least.script %}<h2>The least that fails</h2>
<p class="soft">Without convfuzz, in the folder of both files:</p>
<pre class="wide" tabindex="0"><code>{{ found.least.script }}</code></pre>{% endif %}
{% if found.trials %}
<h2>Trials</h2>
<p class="soft">{{ "{:,}".format(found.elements_judged) }} of {{ "{:,}".format(found.elements) }} elements were judged.
An error of 1 is as large as the arithmetic that is allowed can make it on these very data.</p>
<div class="wide" tabindex="0" role="region" aria-label="Trials">
<table>
<thead><tr><th scope="col">parameters</th><th scope="col">inputs</th><th scope="col">verdict</th>
<th scope="col" class="number">error / tolerance</th>
<th scope="col" class="number">elements</th><th scope="col">at</th><th scope="col">what is said</th></tr></thead>
<tbody>
{% for one in found.trials %}<tr>
<td>{{ one.instance }}</td><td>{{ one.name }}</td>
<td class="{{ {"agree": "good", "refused": "doubt", "not-covered": "doubt"}.get(one.verdict, "bad") }}">{{ one.verdict }}</td>
<td class="number">{{ "%.3g" | format(one.ratio) if one.elements_judged else "" }}</td>
<td class="number">{{ "{:,}".format(one.elements_judged) }}{% if one.elements_judged != one.elements %}
of {{ "{:,}".format(one.elements) }}{% endif %}</td>
<td>{% if one.index and one.verdict != "agree" %}<code>{{ one.index | list }}</code>{% endif %}</td>
<td>{{ one.reason | one_line }}</td>
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
<h2>Again</h2>
<p><code>convfuzz judge {{ found.problem }} {{ found.solution }} --seed {{ found.seed }}</code></p>
<p class="soft">{% for name, version in found.versions.items() %}{{ name }} {{ version }}{{ "" if loop.last else ", " }}{% endfor %}</p>
</main>
</body>
</html>
"""


def page(found: Judged) -> str:
    """Return the verdict as HTML; whatever a solution has said is text in it."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    environment.filters["one_line"] = one_line
    return environment.from_string(_PAGE).render(found=found, tone=_TONES.get(found.verdict, "doubt"))
