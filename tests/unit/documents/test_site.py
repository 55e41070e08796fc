"""What a built site may not load: the build of `./run docs` fails with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.site_loads import foreign


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ('<script src="https://x.org/a.js"></script>', "https://x.org/a.js"),
        ('<script src="//x.org/a.js"></script>', "//x.org/a.js"),
        ('<link rel="stylesheet" href="https://x.org/a.css">', "https://x.org/a.css"),
        ('<link rel="preconnect" href="https://x.org">', "https://x.org"),
        ('<link href="HTTPS://x.org/a" rel="alternate icon">', "HTTPS://x.org/a"),
        ('<img src="a.png" srcset="b.png 1x, https://x.org/b.png 2x">', "https://x.org/b.png"),
        ('<base href="https://x.org/">', "https://x.org/"),
        ('<svg><image href="https://x.org/a.png"/></svg>', "https://x.org/a.png"),
        ('<svg><use xlink:href="https://x.org/a.svg#b"/></svg>', "https://x.org/a.svg#b"),
        ('<iframe src="https://x.org/">', "https://x.org/"),
        ("<p style=\"background: url('https://x.org/a.png')\">", "https://x.org/a.png"),
        ("<style>@font-face { src: url(https://x.org/a.woff2) }</style>", "https://x.org/a.woff2"),
        ('<style>p {} @import "https://x.org/a.css";</style>', "https://x.org/a.css"),
    ],
)
def test_what_a_page_loads_from_another_host_is_told(tmp_path: Path, page: str, address: str) -> None:
    (tmp_path / "adr").mkdir()
    (tmp_path / "adr" / "1.html").write_text(f"<html><body>{page}</body></html>")

    assert foreign(tmp_path) == [f"adr/1.html: {address}"]


def test_a_picture_that_the_theme_would_draw_with_a_program_from_elsewhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<pre class="wide mermaid"><code>flowchart TD</code></pre>')
    (fault,) = foreign(tmp_path)
    assert fault.startswith("index.html: https://…")


@pytest.mark.parametrize("name", ["a.css", "a.svg"])
def test_styles_and_pictures_are_looked_at_too(tmp_path: Path, name: str) -> None:
    text = '@import url("https://x.org/a.css");'
    (tmp_path / name).write_text(text if name == "a.css" else f"<svg><style>{text}</style></svg>")
    assert foreign(tmp_path) == [f"{name}: https://x.org/a.css"]


def test_links_and_what_is_its_own_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<html><head><link rel="canonical" href="https://x.org/"><link rel="stylesheet" href="assets/a.css">'
        '<script src="../a.js"></script><script>var base = "https://x.org/"</script></head><body>'
        '<svg xmlns="http://www.w3.org/2000/svg"><path d="M0"/></svg><img src="data:image/png;base64,x">'
        '<a href="https://x.org/" style="color: red">see url(https://x.org)</a></body></html>'
    )
    (tmp_path / "a.css").write_text("p { background: url(data:image/svg+xml;x) } @font-face { src: url('a.woff2') }")
    assert foreign(tmp_path) == []
