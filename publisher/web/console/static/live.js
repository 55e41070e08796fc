// Live parts of a page: one stream of server-sent events, closed while the reader has paused it or looks elsewhere.
"use strict";

(() => {
  const MOST_ROWS = 200;
  const AGAIN_MS = 1500;
  const AWAY_MS = 2500; // the service ends each stream after a minute, and the browser asks again at once
  const place = document.querySelector("[data-live-source]");
  if (!place) return;
  const button = document.querySelector("[data-pause]");
  const state = document.querySelector("[data-live-state]");
  let after = place.dataset.liveAfter;
  const away = document.getElementById("away");
  let awayTimer = 0;
  let wasAway = false;
  let source = null;
  let isPaused = false;
  let isLoading = false;
  let isStale = false;

  function tell(text) {
    state.textContent = text;
  }

  function url() {
    const found = new URL(place.dataset.liveSource, location.href);
    if (after) found.searchParams.set("after", after);
    return found;
  }

  function open() {
    if (source || isPaused || document.hidden) return;
    source = new EventSource(url());
    if (isStale) reload();
    source.addEventListener("open", () => {
      clearTimeout(awayTimer);
      awayTimer = 0;
      away.hidden = true;
      if (wasAway && place.dataset.liveList) reload();
      wasAway = false;
      tell("live");
    });
    source.addEventListener("error", () => {
      awayTimer ||= setTimeout(() => {
        away.hidden = false;
        wasAway = true;
        tell("trying again");
      }, AWAY_MS);
      if (source && source.readyState === EventSource.CLOSED) { // an answer that was none: the browser gives up
        source = null;
        setTimeout(open, AGAIN_MS);
      }
    });
    source.addEventListener("live", (event) => update(event.data));
    source.addEventListener("sample", (event) => {
      document.dispatchEvent(new CustomEvent("sample", { detail: JSON.parse(event.data) }));
    });
    source.addEventListener("rows", (event) => { noted(event); add(event.data); });
    source.addEventListener("missed", (event) => { noted(event); reload(); });
  }

  function close() {
    if (source) source.close();
    source = null;
    clearTimeout(awayTimer);
    awayTimer = 0;
  }

  function noted(event) {
    if (event.lastEventId) after = event.lastEventId;
  }

  // What has the reader's focus stays as it is until they leave it.
  function update(html) {
    const made = new DOMParser().parseFromString(html, "text/html");
    for (const part of made.querySelectorAll("[data-live]")) {
      const name = part.dataset.liveInto;
      const old = name ? document.getElementById(name) : place.querySelector(`[data-live="${part.dataset.live}"]`);
      if (!old || old.contains(document.activeElement) || old.innerHTML === part.innerHTML) continue;
      const charts = [...old.querySelectorAll(".chart")]; // which are told each sample by itself
      old.innerHTML = part.innerHTML;
      for (const chart of charts) {
        const fresh = old.querySelector(`[data-chart="${chart.dataset.chart}"]`);
        if (fresh) fresh.replaceWith(chart);
      }
      tellTimes(old);
      window.htmx.process(old);
    }
  }

  function add(html) {
    const body = place.querySelector("[data-live-rows]");
    const made = document.createElement("template");
    made.innerHTML = html;
    for (const row of [...made.content.querySelectorAll("tr")].reverse()) {
      document.getElementById(row.id)?.remove();
      row.classList.add("new");
      body.prepend(row);
      window.htmx.process(row);
    }
    place.querySelector("[data-empty]")?.remove();
    while (body.rows.length > MOST_ROWS) body.lastElementChild.remove();
    tellTimes(body);
  }

  // More came than was sent: the list as it is now, asked for until it comes, or is refused, or nobody looks.
  async function reload() {
    isStale = true;
    if (isLoading) return;
    isLoading = true;
    try {
      while (isStale && source) {
        isStale = false;
        const answer = await answered(place.dataset.liveList, { "HX-Request": "true" }).catch(() => null);
        if (answer?.status >= 400 && answer.status < 500) return; // the next one would be refused as well
        const html = answer?.ok ? await answer.text().catch(() => null) : null;
        if (html === null) {
          isStale = true;
          await new Promise((done) => { setTimeout(done, AGAIN_MS); });
          continue;
        }
        place.innerHTML = html;
        tellTimes(place);
        window.htmx.process(place);
      }
    } finally {
      isLoading = false;
    }
  }

  function pause(wanted) {
    isPaused = wanted;
    button.setAttribute("aria-pressed", String(wanted));
    button.textContent = wanted ? "Go on" : "Pause";
    if (wanted) {
      close();
      tell("paused");
    } else {
      open();
    }
  }

  button.hidden = false;
  state.hidden = false;
  button.addEventListener("click", () => pause(!isPaused));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      close();
      if (!isPaused) tell("paused while this page is hidden");
    } else {
      open();
    }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
})();
