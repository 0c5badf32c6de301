"""Reports read back: well-formed, and with nothing that has to be fetched."""

import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Every address that a page asks for, its anchors, its tags (which must be closed in order) and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.anchors |= {f"#{value}" for name, value in attrs if name == "id"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def assert_self_contained(file: Path) -> Page:
    text = file.read_text()
    page = Page(text)
    local = {address for address in page.addresses if address.startswith("#")}
    assert local <= page.anchors
    assert all(address.startswith("data:image/png;base64,") for address in set(page.addresses) - local)
    assert not {"link", "iframe", "object", "base"} & set(page.tags)
    assert page.tags.count("script") == 1  # the one that sorts
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttp|import\(", re.sub(r"base64,[^\"]*", "", text))
    return page
