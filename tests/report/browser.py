"""Pages in a real browser: what a reader would see go wrong at three widths."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (400, 800, 1280)

# The page stands in frames of three widths. What is found goes into the title.
_CHECK = """
<!doctype html><meta charset="utf-8"><body>
<script>
const PAGE = %PAGE%, WIDTHS = %WIDTHS%;
const load = width => new Promise(done => {
  const frame = document.createElement('iframe');
  frame.style.cssText = `width:${width}px;height:900px;border:0;display:block`;
  frame.onload = () => done(frame);
  frame.src = PAGE; document.body.append(frame);
});
const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
  && a.top < b.bottom - 1 && b.top < a.bottom - 1;
const overlaps = elements => {
  const boxes = elements.map(e => [e.textContent, e.getBoundingClientRect()])
    .filter(([, box]) => box.width);
  const found = [];
  boxes.forEach(([text, box], i) => boxes.slice(i + 1).forEach(([other, its]) => {
    if (meet(box, its)) found.push(`${text.trim()} / ${other.trim()}`);
  }));
  return found;
};
const plays = async video => {
  await video.play();
  // Decoding takes real time, of which the virtual clock knows nothing, but it stands while the
  // browser reads a file.
  for (let i = 0; i < 2000 && video.currentTime < 0.2; i++)
    await new Promise(done => {
      const request = new XMLHttpRequest();
      request.onloadend = done;
      request.open('GET', PAGE);
      request.send();
    });
  return {time: video.currentTime, width: video.videoWidth, paused: video.paused};
};
const look = async frame => {
  const page = frame.contentDocument, all = selector => [...page.querySelectorAll(selector)];
  const root = page.documentElement;
  const wide = all('main *').filter(e => !e.closest('.wide, pre, .picture, defs')
    && e.getBoundingClientRect().right > root.clientWidth + 1);
  const marks = all('.mark[tabindex]');
  if (marks.length) marks[0].focus();
  const tip = page.getElementById('tip');
  const video = page.querySelector('video');
  return {
    width: root.clientWidth,
    overflow: root.scrollWidth - root.clientWidth,
    wide: wide.slice(0, 5).map(e => e.outerHTML.slice(0, 120)),
    text_overlaps: all('div.chart').flatMap(chart =>
      overlaps([...chart.querySelectorAll('text:not(.label)')])),
    block_overlaps: overlaps(all('main > *, .beside > *, .numbers > *')
      .filter(e => !e.matches('.beside, .numbers'))),
    broken_anchors: all('a[href^="#"]').map(a => a.getAttribute('href'))
      .filter(href => !page.getElementById(href.slice(1))),
    without_words: all('img:not([alt]), .chart > svg:not([aria-label]), video:not([aria-label])')
      .length,
    charts: all('div.chart').length,
    marks: all('.mark').length,
    tip: tip && !tip.hidden ? tip.textContent : null,
    video: video ? await plays(video) : null,
  };
};
Promise.all(WIDTHS.map(load)).then(frames => Promise.all(frames.map(look)))
  .then(found => { document.title = JSON.stringify(found); })
  .catch(error => { document.title = JSON.stringify(String(error)); })
  .finally(() => { document.body.replaceChildren(); });
</script>
"""


@dataclass(frozen=True)
class Seen:
    """What the browser found: one entry for each width, and what it wrote to its console."""

    widths: list[dict[str, Any]]
    console: list[str]


def look_at(page: Path, scratch: Path) -> Seen:
    """Open a page at three widths; skips the test where there is no Chromium."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium")
    check = scratch / "check.html"
    text = _CHECK.replace("%PAGE%", json.dumps(page.resolve().as_uri()))
    check.write_text(text.replace("%WIDTHS%", json.dumps(WIDTHS)), encoding="utf-8")
    run = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--mute-audio",
            "--hide-scrollbars",
            f"--user-data-dir={scratch / 'profile'}", "--allow-file-access-from-files",
            "--autoplay-policy=no-user-gesture-required", "--window-size=1300,2800",
            "--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom", check.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", run.stdout, re.DOTALL)
    assert title is not None, run.stderr
    widths = json.loads(unescape(title[1]))
    assert isinstance(widths, list), widths
    console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    return Seen(widths, console)


def nothing_wrong(seen: Seen) -> None:
    """Assert what every page must be."""
    assert seen.console == []
    assert [one["width"] for one in seen.widths] == list(WIDTHS)
    for one in seen.widths:
        assert one["overflow"] == 0, one["wide"]
        assert one["wide"] == []
        assert one["text_overlaps"] == []
        assert one["block_overlaps"] == []
        assert one["broken_anchors"] == []
        assert one["without_words"] == 0
