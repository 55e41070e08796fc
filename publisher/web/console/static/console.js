// What every page has: times in the reader's zone, copying, keys, rows that are chosen, questions before what is done.
"use strict";

const TIME = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
  hourCycle: "h23",
});
const SAME_DAY = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});

function ago(milliseconds) {
  const seconds = Math.max(milliseconds / 1000, 0);
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.round(seconds / size)} ${unit} ago`;
  }
  return `${Math.round(seconds)} s ago`;
}

function tellTimes(root) {
  const now = new Date();
  for (const element of root.querySelectorAll("time[datetime]")) {
    const time = new Date(element.dateTime);
    if (isNaN(time)) continue;
    if (element.hasAttribute("data-ago")) {
      element.textContent = ago(now - time);
    } else if (!element.dataset.told) {
      element.textContent = (now.toDateString() === time.toDateString() ? SAME_DAY : TIME).format(time);
      element.dataset.told = "1";
    }
  }
}

function say(text) {
  document.getElementById("said").textContent = text;
}

// In how many milliseconds to ask again, where the service has too much to do for an answer; else 0.
function againMs(status, retryAfter) {
  return status === 503 ? 1000 * Number(retryAfter) : 0;
}

// The first answer that is one.
async function answered(url, headers = {}) {
  for (;;) {
    const answer = await fetch(url, { headers });
    const wait = againMs(answer.status, answer.headers.get("Retry-After"));
    if (!wait) return answer;
    await new Promise((done) => { setTimeout(done, wait); });
  }
}

async function copy(button) {
  const target = button.dataset.copy;
  const text = target.startsWith("/")
    ? await (await answered(target)).text()
    : document.querySelector(target).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  say("Copied");
  setTimeout(() => { button.textContent = before; }, 1500);
}

function choose(link) {
  const row = link.closest("tr");
  for (const other of row.parentElement.querySelectorAll("[aria-selected]")) other.removeAttribute("aria-selected");
  row.setAttribute("aria-selected", "true");
}

function showWhatNeedsScript(root) {
  for (const element of root.querySelectorAll("[data-copy][hidden], [data-slider][hidden]")) element.hidden = false;
  const slider = root.querySelector("#slider");
  if (slider) slide(slider);
}

function dressed(root) {
  tellTimes(root);
  showWhatNeedsScript(root);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
  const link = event.target.closest("[data-select]");
  if (link) choose(link);
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
    document.getElementById("q").focus();
    event.preventDefault();
  }
});

// On a narrow page the inspector is below the list: bring it into view.
document.addEventListener("htmx:afterSwap", (event) => {
  const target = event.detail.target;
  dressed(target);
  if (target.id === "inspector" && target.getBoundingClientRect().top > window.innerHeight * 0.8) {
    target.scrollIntoView({ block: "start" });
  }
});

document.addEventListener("htmx:sendError", (event) => {
  event.detail.target.innerHTML = '<p class="notice bad" role="alert">The service does not answer. Is it still running?</p>';
});

// A piece that is to be asked for again: what is there stays until it comes, or until something else is wanted there.
const again = new WeakMap();
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target, pathInfo } = event.detail;
  const wait = againMs(xhr.status, xhr.getResponseHeader("Retry-After"));
  if (!wait) return;
  event.detail.shouldSwap = false;
  again.set(target, setTimeout(() => {
    if (target.isConnected) htmx.ajax("GET", pathInfo.finalRequestPath, { target, swap: "innerHTML" });
  }, wait));
});
document.addEventListener("htmx:beforeRequest", (event) => clearTimeout(again.get(event.detail.target)));

dressed(document);
setInterval(() => { if (!document.hidden) tellTimes(document); }, 5000);

// The slider over the events of one thing: each stop shows what it was like behind that event.
let sliderTimer = 0;
function slide(slider) {
  const stop = slider.dataset.stops.split(" ")[slider.value];
  const time = slider.dataset.times.split(" ")[slider.value];
  const place = slider.closest("[data-slider]");
  const words = `event ${Number(slider.value) + 1} of ${Number(slider.max) + 1}, ${TIME.format(new Date(time))}`;
  place.querySelector("output").textContent = words;
  slider.setAttribute("aria-valuetext", words);
  for (const line of document.querySelectorAll(".timeline li")) {
    if (line.id === `t${stop}`) line.setAttribute("aria-current", "true");
    else line.removeAttribute("aria-current");
  }
  return stop;
}

document.addEventListener("input", (event) => {
  if (event.target.id !== "slider") return;
  const stop = slide(event.target);
  clearTimeout(sliderTimer);
  sliderTimer = setTimeout(() => htmx.ajax("GET", `/state?event=${stop}`, { target: "#state", swap: "innerHTML" }), 90);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-stop]");
  const slider = document.getElementById("slider");
  if (!link || !slider) return;
  event.preventDefault();
  slider.value = slider.dataset.stops.split(" ").indexOf(link.dataset.stop);
  slider.dispatchEvent(new Event("input", { bubbles: true }));
});
