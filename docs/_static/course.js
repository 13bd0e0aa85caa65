// Opened as a file, a page may not read its neighbours: search works, without the excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// The type of a block of code or output shrinks until its longest line fits (course.css does it).
addEventListener("DOMContentLoaded", () => {
  for (const pre of document.querySelectorAll(".bd-article-container pre")) {
    const longest = Math.max(...pre.textContent.split("\n").map((line) => line.length));
    pre.style.setProperty("--columns", Math.max(88, longest));
  }
});

// The search buttons say "Search Ctrl + K"; a label of fewer words would hide the keys from a screen reader.
addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".search-button-field")) button.removeAttribute("aria-label");
});

// What scrolls sideways in its own box (a wide table on a phone) can be reached by the keyboard.
function reachable() {
  for (const box of document.querySelectorAll("pre, table, mjx-container[display='true']")) {
    if (box.scrollWidth > box.clientWidth + 1) {
      box.tabIndex = 0;
    }
  }
}
addEventListener("load", reachable);
addEventListener("resize", reachable);

// The map is drawn again when light and dark change.
async function drawMaps() {
  const maps = document.querySelectorAll("pre.mermaid");
  if (!maps.length || !window.mermaid) return;
  const dark = document.documentElement.dataset.theme === "dark";
  mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "default" });
  for (const map of maps) {
    map.dataset.source ||= map.textContent;
    map.textContent = map.dataset.source;
    delete map.dataset.processed;
  }
  await mermaid.run({ nodes: maps });
}
addEventListener("DOMContentLoaded", () => {
  drawMaps();
  const changed = new MutationObserver(drawMaps);
  changed.observe(document.documentElement, { attributeFilter: ["data-theme"] });
});
