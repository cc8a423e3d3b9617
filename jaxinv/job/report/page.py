"""The frame of a report: one HTML file without scripts or links, for screens, phones and paper.

What is handed to these functions as text is escaped here; what is handed as content is HTML.
"""

from collections.abc import Iterable, Mapping
from html import escape
from string import Template

from jaxinv.outcome.status import Status

# What a status' colour says beside its name, which always stands there too.
KIND = {
    Status.SOLVED: "good",
    Status.CLOSEST: "near",
    Status.UNDERDETERMINED: "free",
    Status.INEXACT: "bad",
    Status.STEP_LIMIT: "bad",
}
# The contrast to the ground and to a panel is 4.5 or more, of text and of what is drawn.
LIGHT = {
    "ground": "#ffffff",
    "text": "#1d2329",
    "quiet": "#4f5963",
    "rule": "#c3c9d0",
    "panel": "#f1f3f6",
    "good": "#2a6097",
    "near": "#1b7358",
    "free": "#8a5a00",
    "bad": "#b3351f",
    "none": "#5d5468",
}
DARK = {
    "ground": "#14181d",
    "text": "#e6e9ec",
    "quiet": "#aab3bd",
    "rule": "#47505a",
    "panel": "#1f252c",
    "good": "#7ab3ea",
    "near": "#6cc7a1",
    "free": "#e0b050",
    "bad": "#f2907a",
    "none": "#b9aec6",
}


def colour(status: Status) -> str:
    """The name of a status' colour in LIGHT and DARK."""
    return KIND.get(status, "none")


def page(title: str, lead: Iterable[str], sections: Iterable[tuple[str, str]]) -> bytes:
    """The file. lead: paragraphs of HTML above all else. sections: titles, and HTML below each."""
    body = "".join(
        f"<section><h2>{escape(heading)}</h2>{content}</section>" for heading, content in sections
    )
    told = "".join(f"<p>{paragraph}</p>" for paragraph in lead)
    html = _PAGE.substitute(
        title=escape(title), lead=told, body=body, light=_variables(LIGHT), dark=_variables(DARK)
    )
    # A file's name may hold bytes that are no text.
    return html.encode(errors="replace")


def code(command: str) -> str:
    """A command, or an option alone, as one types it."""
    word = "" if " " in command else ' class="word"'
    return f"<code{word}>{escape(command)}</code>"


def command(line: str) -> str:
    """A command in a line of its own, to be copied."""
    return f"<pre><code>{escape(line)}</code></pre>"


def facts(pairs: Mapping[str, str]) -> str:
    """A table of names and values."""
    lines = (
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in pairs.items()
    )
    return f'<table class="facts"><tbody>{"".join(lines)}</tbody></table>'


def table(name: str, head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """A table whose first column names its lines; it scrolls by itself where it is too wide."""
    heads = "".join(f'<th scope="col">{escape(word)}</th>' for word in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(word)}</td>" for word in rest)
        + "</tr>"
        for first, *rest in lines
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(name)}">'
        f"<table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(drawn: str, caption: str) -> str:
    """A drawing with the words below it."""
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _variables(colours: Mapping[str, str]) -> str:
    return "; ".join(f"--{name}: {value}" for name, value in colours.items())


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>
:root { color-scheme: light dark; $light }
@media (prefers-color-scheme: dark) { :root { $dark } }
@media print { :root { color-scheme: light; $light } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem;
  color: var(--text); background: var(--ground); overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: 0 0 1rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
h3 { font-size: 1rem; margin: 0 } p { margin: .5rem 0; max-width: 46rem }
.lead { border-left: .3rem solid var(--quiet); padding-left: .9rem }
.quiet, figcaption { color: var(--quiet); font-size: .9rem }
code { font: .92em/1.4 ui-monospace, monospace } .word { white-space: nowrap }
pre { background: var(--panel); padding: .5rem .7rem; margin: .4rem 0; white-space: pre-wrap }
ul { list-style: none; margin: 0; padding: 0 }
.statuses li { margin: 0 0 1.1rem }
.bar { height: .6rem; margin: .25rem 0; background: var(--panel); max-width: 46rem }
.bar span { display: block; height: 100%; min-width: 2px; print-color-adjust: exact;
  -webkit-print-color-adjust: exact }
.good { background: var(--good) } .near { background: var(--near) }
.free { background: var(--free) } .bad { background: var(--bad) } .none { background: var(--none) }
.statuses p { margin: .15rem 0 }
.rows { display: grid; gap: 1.4rem 2rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)) }
.pictures { display: grid; grid-template-columns: repeat(3, 1fr); gap: .5rem; margin-top: .3rem }
figure { margin: 0 } figcaption { margin-top: .2rem }
svg { display: block; width: 100%; max-width: 30rem; height: auto }
svg text { font: 12px system-ui, sans-serif; fill: var(--text) }
img { display: block; width: 100%; height: auto; image-rendering: pixelated;
  border: 1px solid var(--rule) }
.wide { overflow-x: auto } table { border-collapse: collapse }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top }
thead th { border-bottom: 1px solid var(--rule) } th { font-weight: 600 }
.wide td, .wide th { overflow-wrap: normal }
.facts th { overflow-wrap: normal; white-space: nowrap }
@media (max-width: 34rem) {
  .facts th, .facts td { display: block; padding: 0 } .facts td { margin-bottom: .6rem }
}
@media print {
  body { font-size: 10.5pt; max-width: none; padding: 0 } h2 { break-after: avoid }
  li, figure, tr, .row { break-inside: avoid } .wide { overflow: visible }
}
</style></head><body><main><h1>$title</h1><div class="lead">$lead</div>$body</main></body></html>
""")
