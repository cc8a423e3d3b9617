"""A page as a reader of HTML finds it, who refuses what is not well formed."""

from collections import Counter
from html.parser import HTMLParser

# Elements that HTML does not close.
OPEN = {"img", "br", "meta"}


class Page(HTMLParser):
    """Reads a page, and refuses one whose elements do not close in order.

    cells: the words of each table's lines. labels: of what is drawn. alts, sources: of images.
    commands: lines to be typed.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.stack, self.cells, self.labels, self.tags = [], [], [], Counter()
        self.alts, self.sources, self.commands = [], [], []
        self.text = ""
        self.feed(page)
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        given = dict(attrs)
        self.labels += [value for name, value in attrs if name == "aria-label"]
        if tag == "img":
            self.alts.append(given["alt"])
            self.sources.append(given["src"])
        if tag == "svg":
            self.tags["svg with a label"] += bool(given.get("aria-label"))
        if tag not in OPEN:
            self.stack.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag == "pre":
            self.commands.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "pre" in self.stack:
            self.commands[-1] += data
        if self.stack and self.stack[-1] == "td":
            self.cells[-1].append(data)
