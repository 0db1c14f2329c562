"use strict";
(() => {
  // The experiments, filtered: a part of them is in the table at a time.
  const { experiments } = JSON.parse(document.getElementById("data").textContent);
  const STEP = 200;
  const find = document.getElementById("find");
  const outcome = document.getElementById("outcome");
  const body = document.getElementById("rows");
  const shown = document.getElementById("shown");
  const more = document.getElementById("more");
  let matching = experiments;
  const cell = (row, text, code) => {
    const cell = row.insertCell();
    const holder = code ? cell.appendChild(document.createElement("code")) : cell;
    holder.textContent = text;
    return cell;
  };
  const line = ([number, fault, name, symbol, text, why, replay, source, kind]) => {
    const row = body.insertRow();
    cell(row, number).className = "num";
    const details = row.insertCell().appendChild(document.createElement("details"));
    details.appendChild(document.createElement("summary")).appendChild(document.createElement("code")).textContent = fault;
    for (const part of [source, replay]) {
      if (part) details.appendChild(document.createElement("div")).appendChild(document.createElement("code")).textContent = part;
    }
    const mark = row.insertCell().appendChild(document.createElement("span"));
    mark.className = `outcome ${kind}`;
    mark.textContent = name;
    cell(row, symbol, true);
    cell(row, text, true);
    cell(row, why);
  };
  const add = () => {
    const from = body.rows.length;
    matching.slice(from, from + STEP).forEach(line);
    more.hidden = body.rows.length >= matching.length;
    shown.textContent = `${matching.length} of ${experiments.length}`;
  };
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    matching = experiments.filter((one) => {
      if (outcome.value && one[2] !== outcome.value) return false;
      const text = one.join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    body.replaceChildren();
    add();
  };
  find.addEventListener("input", filter);
  outcome.addEventListener("change", filter);
  more.addEventListener("click", add);
  filter();
})();
