"""report.html is one file that needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from finished_runs import finished_run, with_metrics

from hygen_lightning.commands.report import report


class Tags(HTMLParser):
    """Open tags in order, and every address that the page names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_its_pictures_and_every_tag_is_closed(tmp_path: Path) -> None:
    for algorithm, wins in (("a", 6), ("b", 2)):
        for seed in (1, 2):
            run = finished_run(tmp_path / "runs", algorithm, seed, {"3m": 9, "4m": wins + seed})
            with_metrics(run, [0.1, 0.5], [0.0, 0.2])
            (run / "battle.gif").write_bytes(b"GIF89a")
    assert report([tmp_path / "runs"], out=tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert len(tags.addresses) == 4 + 2, "four plots, a battle of each group"
    assert all(address.startswith("data:image/") for address in tags.addresses)
    assert not re.findall(r"https?://", text)
    assert 'name="viewport"' in text
    assert "Learned: 3m" in text
    assert text.index("Means over tasks") < text.index("<img") < text.index("Every task, with both intervals")
