// Charts in place of the sparklines: the same samples, with their values under the pointer.
"use strict";

(() => {
  const holder = document.querySelector("[data-samples]");
  if (!holder || !window.uPlot) return;
  const KEPT = 300;
  const SPANNED = 5; // samples, as in sparks.py
  const columns = JSON.parse(holder.dataset.samples);
  const KINDS = {
    rate: { columns: [1], colors: ["--accent"], words: ["events a second"] },
    latency: { columns: [2, 3], colors: ["--accent", "--plum"], words: ["median, ms", "99 %, ms"] },
    waiting: { columns: [4], colors: ["--accent"], words: ["waiting"] },
  };
  const charts = [];

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function dataOf(kind) {
    return [columns[0], ...kind.columns.map((index) => spanned(columns[index]))];
  }

  // A line goes on over a few samples that know nothing (undefined), and ends where it was quiet for longer (null).
  function spanned(values) {
    const found = [...values];
    for (let at = 0; at < found.length; at += 1) {
      let end = at;
      while (end < found.length && found[end] === null) end += 1;
      if (end - at <= SPANNED) found.fill(undefined, at, end);
      at = end;
    }
    return found;
  }

  function draw(place) {
    const kind = KINDS[place.dataset.chart];
    const said = document.createElement("span");
    said.className = "chart-said small muted";
    const series = kind.columns.map((_, at) => ({
      stroke: () => color(kind.colors[at]), width: 1.6, label: kind.words[at], points: { show: false },
    }));
    const chart = new window.uPlot({
      width: place.clientWidth, height: 64, legend: { show: false },
      padding: [4, 0, 2, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high || 0, 1)] } },
      axes: [{ show: false }, { show: false }],
      series: [{}, ...series],
      hooks: { setCursor: [(shown) => tell(shown, kind, said)] },
    }, dataOf(kind), place);
    for (const drawn of place.querySelectorAll("svg.spark")) drawn.remove();
    chart.root.setAttribute("aria-hidden", "true");
    place.append(said);
    place.dataset.drawn = "1";
    charts.push([chart, kind, place]);
  }

  function tell(chart, kind, said) {
    const at = chart.cursor.idx;
    if (at === null || at === undefined || columns[0][at] === undefined) {
      said.textContent = "";
      return;
    }
    const values = kind.columns.map((index, number) => {
      const value = columns[index][at];
      return `${value === null ? "–" : Math.round(value * 10) / 10} ${kind.words[number]}`;
    });
    said.textContent = `${new Date(columns[0][at] * 1000).toLocaleTimeString()}: ${values.join(", ")}`;
  }

  document.addEventListener("sample", (event) => {
    if (columns[0].at(-1) === event.detail[0]) return;
    event.detail.forEach((value, index) => {
      columns[index].push(value);
      if (columns[index].length > KEPT) columns[index].shift();
    });
    for (const [chart, kind] of charts) chart.setData(dataOf(kind));
  });

  for (const place of holder.querySelectorAll("[data-chart]")) draw(place);
  const watcher = new ResizeObserver(() => {
    for (const [chart, , place] of charts) {
      if (place.clientWidth && chart.width !== place.clientWidth) chart.setSize({ width: place.clientWidth, height: 64 });
    }
  });
  watcher.observe(holder);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [chart] of charts) chart.redraw();
  });
})();
