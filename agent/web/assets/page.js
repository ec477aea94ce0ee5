"use strict";

// The page is whole without this file. It keeps the page fresh, filters while
// typing, and says when the agent stops answering.
(() => {
  const interval = 5000;
  const silence = document.getElementById("silence");
  const form = document.getElementById("filter");
  const opened = new Map(); // details that a person opened or closed, by key
  let turn = 0;

  document.addEventListener("click", (event) => {
    const summary = event.target.closest("summary");
    const details = summary && summary.parentElement;
    if (details && details.dataset.key) {
      opened.set(details.dataset.key, !details.open);
    }
  });

  // An address without the position in the page, which is not sent anyway.
  const here = () => location.pathname + location.search;

  async function load(address) {
    const mine = ++turn;
    try {
      const answer = await fetch(address, {cache: "no-store", signal: AbortSignal.timeout(2 * interval)});
      if (!answer.ok) {
        throw new Error(answer.statusText);
      }
      const text = await answer.text();
      if (mine === turn) {
        silence.hidden = true;
        show(new DOMParser().parseFromString(text, "text/html"));
      }
    } catch {
      if (mine === turn) {
        silence.hidden = false;
      }
    }
  }

  function show(fresh) {
    const style = "link[rel=stylesheet]";
    if (fresh.querySelector(style).getAttribute("href") !== document.querySelector(style).getAttribute("href")) {
      location.reload(); // another version of the agent
      return;
    }
    const focused = document.activeElement && document.activeElement.getAttribute("href");
    document.title = fresh.title;
    document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").getAttribute("href");
    for (const section of fresh.querySelectorAll("[data-live]")) {
      for (const details of section.querySelectorAll("details[data-key]")) {
        if (opened.has(details.dataset.key)) {
          details.open = opened.get(details.dataset.key);
        }
      }
      const old = document.getElementById(section.id);
      if (!old || old.isEqualNode(section)) {
        continue;
      }
      const scrolled = [...old.querySelectorAll("pre")].map((pre) => [pre.scrollLeft, pre.scrollTop]);
      old.replaceWith(document.adoptNode(section));
      section.querySelectorAll("pre").forEach((pre, i) => pre.scrollTo(...(scrolled[i] || [0, 0])));
    }
    if (focused && document.activeElement === document.body) {
      const again = document.querySelector(`a[href="${CSS.escape(focused)}"]`);
      if (again) {
        again.focus({preventScroll: true});
      }
    }
  }

  function filter() {
    const parameters = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    history.replaceState(null, "", "?" + parameters + location.hash);
    load(here());
  }

  let typing = 0;
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(filter, 150);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    filter();
  });

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      form.elements.q.focus();
    }
  });

  setInterval(() => {
    // Who marks text wants to copy it.
    if (!document.hidden && getSelection().isCollapsed) {
      load(here());
    }
  }, interval);
  document.addEventListener("visibilitychange", () => document.hidden || load(here()));
})();
