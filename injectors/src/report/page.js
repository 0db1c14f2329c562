"use strict";
(() => {
  const list = document.getElementById("list");
  const all = [...list.children];
  const key = (experiment, name) => experiment.querySelector(`[data-key="${name}"]`).textContent;

  // Which are shown: those of the chosen outcomes that hold all words.
  const find = document.getElementById("find");
  const toggles = [...document.querySelectorAll(".toggle")];
  const shown = document.getElementById("shown");
  const choose = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = new Set(toggles.filter((one) => one.getAttribute("aria-pressed") === "true").map((one) => one.dataset.outcome));
    let count = 0;
    for (const experiment of all) {
      const text = experiment.firstElementChild.textContent.toLowerCase();
      experiment.hidden = !chosen.has(experiment.dataset.outcome) || !words.every((word) => text.includes(word));
      if (!experiment.hidden) count += 1;
    }
    shown.textContent = count === all.length ? "" : `${count} of ${all.length} shown`;
  };
  if (find) {
    find.addEventListener("input", choose);
    for (const toggle of toggles) {
      toggle.addEventListener("click", () => {
        toggle.setAttribute("aria-pressed", String(toggle.getAttribute("aria-pressed") !== "true"));
        choose();
      });
    }
  }

  // The order: by what the button above a column says, the other way round when it is used again.
  const heads = [...document.querySelectorAll(".head button")];
  for (const head of heads) {
    head.addEventListener("click", () => {
      const order = head.dataset.order === "up" ? "down" : "up";
      for (const other of heads) delete other.dataset.order;
      head.dataset.order = order;
      const sign = order === "up" ? 1 : -1;
      const keys = new Map(all.map((experiment) => [experiment, key(experiment, head.dataset.by)]));
      const sorted = [...all].sort((a, b) => sign * keys.get(a).localeCompare(keys.get(b), "en", { numeric: true }));
      list.append(...sorted);
    });
  }

  // Up and down go from one experiment to the next.
  list.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    if (!event.target.matches(".experiment > summary")) return;
    const visible = [...list.children].filter((experiment) => !experiment.hidden);
    const at = visible.indexOf(event.target.parentElement);
    const next = visible[at + (event.key === "ArrowDown" ? 1 : -1)];
    if (!next) return;
    event.preventDefault();
    next.firstElementChild.focus();
  });

  // A link to an experiment opens it.
  const open = () => {
    const named = /^#e\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!named) return;
    named.open = true;
    named.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();

  // Without a clipboard there are no buttons.
  for (const button of navigator.clipboard ? document.querySelectorAll(".copy") : []) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
