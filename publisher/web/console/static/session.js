// Who signed in: this tab alone knows, and sends it with each form and each piece that it asks for.
"use strict";

(() => {
  const KEPT = "session";

  function kept() {
    const found = JSON.parse(sessionStorage.getItem(KEPT));
    return found && found.endsAt * 1000 > Date.now() ? found : null;
  }

  // What is for who acts, and what for who reads, is told apart by the style.
  function show() {
    const session = kept();
    document.documentElement.classList.toggle("acts", session !== null);
    for (const place of document.querySelectorAll("[data-name]")) place.textContent = session ? session.name : "";
  }

  function begin(made) {
    const { session, called, endsAt, to } = made.dataset;
    sessionStorage.setItem(KEPT, JSON.stringify({ key: session, name: called, endsAt: Number(endsAt) }));
    location.replace(to);
  }

  document.addEventListener("formdata", (event) => {
    const session = kept();
    if (session && event.target.method === "post") event.formData.set(KEPT, session.key);
    if (event.target.hasAttribute("data-ends-session")) sessionStorage.removeItem(KEPT);
  });

  document.addEventListener("htmx:configRequest", (event) => {
    const session = kept();
    if (session) event.detail.headers["Imi-Session"] = session.key;
    else if (event.detail.elt.hasAttribute("data-acts")) event.preventDefault();
  });

  document.addEventListener("DOMContentLoaded", () => {
    const made = document.querySelector("[data-session]");
    if (made) begin(made);
    show();
  });
  window.addEventListener("pageshow", show); // one that was left for another is as it was then
  show();
})();
