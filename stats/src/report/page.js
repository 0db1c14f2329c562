"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const svg = (name, attributes = {}) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  // Listings: the rows of a function are made when it is opened, a part at a time.
  const PART = 1000;
  const logHottest = Math.log(data.hottest + 1) || 1;
  const heat = (executions) => 70 * (Math.log(executions + 1) / logHottest) ** 2.5;

  const strip = (levels) => {
    const columns = Math.min(levels.length, 64);
    const rows = Math.ceil(levels.length / 64);
    const picture = svg("svg", { class: "bits", viewBox: `0 0 ${columns * 10} ${rows * 12}`, width: columns * 10, height: rows * 12, role: "img" });
    const constant = [...levels].filter((level) => level === "0" || level === "1").length;
    picture.setAttribute("aria-label", `${levels.length} bits, ${constant} of them constant`);
    [...levels].forEach((level, index) => {
      const cell = svg("rect", { x: (index % 64) * 10 + 0.5, y: Math.floor(index / 64) * 12 + 0.5, width: 9, height: 10 });
      const bit = levels.length - 1 - index;
      let text;
      if (level === "0") { cell.classList.add("zero"); text = "always 0"; }
      else if (level === "1") { cell.classList.add("one"); text = "always 1"; }
      else if (level === ".") { cell.classList.add("never"); text = "never seen"; }
      else {
        const share = ((level.charCodeAt(0) - 97 + 0.5) / 26) * 100;
        cell.style.setProperty("--p", `${share}%`);
        text = `1 in about ${share.toFixed(0)} %`;
      }
      const title = svg("title");
      title.textContent = `bit ${bit}: ${text}`;
      cell.append(title);
      picture.append(cell);
    });
    return picture;
  };

  const operandsRow = (operands) => {
    const cell = make("td", { colspan: 5 });
    for (const [name, access, values, levels] of operands) {
      const about = make("span", {}, make("code", {}, name.slice(2)), ` ${access}, ${grouped(values)}×`);
      cell.append(make("div", { class: "operand" }, about, strip(levels)));
    }
    const row = make("tr", { class: "operands" });
    row.append(cell);
    return row;
  };

  const instructionRow = (listing, [pc, bytes, text, source, executions, operands]) => {
    const row = make("tr");
    const count = make("td", { class: "heat num" }, grouped(executions));
    count.style.setProperty("--p", `${heat(executions)}%`);
    const code = make("td");
    if (operands && operands.length) {
      const button = make("button", { type: "button", "aria-expanded": "false" }, make("code", {}, text));
      button.addEventListener("click", () => {
        const open = button.getAttribute("aria-expanded") === "true";
        button.setAttribute("aria-expanded", String(!open));
        if (open) row.nextElementSibling.remove();
        else row.after(operandsRow(operands));
      });
      code.append(button);
    } else code.append(make("code", {}, text));
    row.append(
      count,
      make("td", {}, make("code", {}, `0x${pc}`)),
      make("td", { class: "bytes" }, make("code", {}, bytes)),
      code,
      make("td", { class: "source" }, listing.sources[source]),
    );
    return row;
  };

  const fill = (details, listing) => {
    const table = make("table");
    const where = listing.offset ? `${listing.module}, from ${listing.offset}` : listing.module || "in no file";
    const head = make("tr");
    for (const title of ["Executions", "Address", "Bytes", "Instruction", "Source"]) head.append(make("th", { scope: "col" }, title));
    const body = make("tbody");
    const thead = make("thead");
    thead.append(head);
    table.append(make("caption", {}, where), thead, body);
    const frame = make("div", { class: "listing" }, table);
    let shown = 0;
    const more = make("button", { type: "button", class: "more" });
    const grow = () => {
      for (const row of listing.rows.slice(shown, shown + PART)) body.append(instructionRow(listing, row));
      shown = Math.min(shown + PART, listing.rows.length);
      more.hidden = shown === listing.rows.length;
      more.textContent = `Show more (${grouped(listing.rows.length - shown)} left)`;
    };
    more.addEventListener("click", grow);
    grow();
    frame.append(more);
    // Up and down go from one instruction to the next.
    frame.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
      const buttons = [...body.querySelectorAll("button")];
      const at = buttons.indexOf(document.activeElement);
      const next = buttons[at + (event.key === "ArrowDown" ? 1 : -1)];
      if (at < 0 || !next) return;
      event.preventDefault();
      next.focus();
    });
    details.append(frame);
  };

  const functions = [...document.querySelectorAll("details.function")];
  for (const details of functions) {
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) fill(details, data.functions[details.dataset.index]);
    });
  }
  // The hottest ones first; the rest on demand, or when a name is looked for.
  const FIRST = 25;
  const filter = document.getElementById("filter");
  const all = document.getElementById("all");
  let complete = functions.length <= FIRST;
  const choose = () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    let last = null;
    functions.forEach((details, index) => {
      const named = details.querySelector(".name").textContent.toLowerCase().includes(wanted);
      details.hidden = !named || (!wanted && !complete && index >= FIRST);
      details.classList.remove("last");
      if (!details.hidden) { shown += 1; last = details; }
    });
    if (last) last.classList.add("last");
    document.getElementById("filtered").textContent = wanted ? `${shown} of ${functions.length} functions` : "";
    all.hidden = complete || wanted !== "";
    all.textContent = `Show all ${functions.length} functions`;
  };
  filter.addEventListener("input", choose);
  all.addEventListener("click", () => {
    complete = true;
    choose();
    functions[FIRST].querySelector("summary").focus();
  });
  choose();

  // Register pictures: one lane for values read, one for values written; 64 bits a line.
  const readout = document.getElementById("readout");
  const describe = (register, access, bit, [ones, zeros]) => {
    const seen = ones + zeros;
    if (!seen) return `${register} bit ${bit}, ${access}: never seen`;
    return `${register} bit ${bit}, ${access}: 1 in ${((ones / seen) * 100).toFixed(2)} % (${grouped(ones)} ones, ${grouped(zeros)} zeros)`;
  };
  const lane = (register, access, bits, ruled) => {
    const CELL = 12;
    const lines = Math.ceil(bits.length / 64);
    const columns = Math.min(bits.length, 64);
    const head = ruled || lines > 1 ? 11.5 : 1.5;
    const lineHeight = head + 15;
    const picture = svg("svg", {
      class: "bits", viewBox: `0 0 ${64 * CELL} ${lines * lineHeight}`, width: 64 * CELL, height: lines * lineHeight,
      tabindex: 0, role: "application", "aria-roledescription": "bit picture",
      "aria-label": `${register}, values ${access}, ${bits.length} bits. Arrow keys choose a bit.`,
    });
    const place = (bit) => [(63 - (bit % 64)) * CELL + 0.5, (lines - 1 - Math.floor(bit / 64)) * lineHeight + head];
    bits.forEach(([ones, zeros], bit) => {
      const [x, y] = place(bit);
      const cell = svg("rect", { x, y, width: CELL - 1, height: 13 });
      cell.dataset.bit = bit;
      if (ones + zeros === 0) cell.classList.add("never");
      else if (ones === 0) cell.classList.add("zero");
      else if (zeros === 0) cell.classList.add("one");
      else cell.style.setProperty("--p", `${(ones / (ones + zeros)) * 100}%`);
      picture.append(cell);
      if (head > 2 && (bit % 8 === 0 || bit === columns - 1)) {
        const text = svg("text", { x: x + CELL / 2 - 0.5, y: y - 3 });
        text.textContent = bit;
        picture.append(text);
      }
    });
    const cursor = svg("rect", { class: "cursor", width: CELL + 1, height: 15, visibility: "hidden" });
    picture.append(cursor);
    let chosen = null;
    const choose = (bit) => {
      chosen = Math.max(0, Math.min(bits.length - 1, bit));
      const [x, y] = place(chosen);
      cursor.setAttribute("x", x - 1);
      cursor.setAttribute("y", y - 1);
      cursor.setAttribute("visibility", "visible");
      readout.textContent = describe(register, access, chosen, bits[chosen]);
    };
    const steps = { ArrowLeft: 1, ArrowRight: -1, ArrowUp: 64, ArrowDown: -64 };
    picture.addEventListener("keydown", (event) => {
      if (event.key in steps) choose((chosen ?? 0) + steps[event.key]);
      else if (event.key === "Home") choose(bits.length - 1);
      else if (event.key === "End") choose(0);
      else return;
      event.preventDefault();
    });
    picture.addEventListener("focus", () => choose(chosen ?? 0));
    picture.addEventListener("blur", () => cursor.setAttribute("visibility", "hidden"));
    picture.addEventListener("pointermove", (event) => {
      const bit = event.target.dataset && event.target.dataset.bit;
      if (bit !== undefined) choose(Number(bit));
    });
    picture.addEventListener("pointerleave", () => {
      if (document.activeElement !== picture) cursor.setAttribute("visibility", "hidden");
    });
    return make("div", { class: "lane" }, make("span", {}, access), picture);
  };
  const draw = (frame, register) => {
    const seen = ["read", "written"].filter((access) => register[access].length);
    seen.forEach((access, index) => frame.append(lane(register.name, access, register[access], index === 0)));
  };
  const pictures = document.getElementById("pictures");
  for (const register of pictures ? data.registers : []) {
    const wide = Math.max(register.read.length, register.written.length) > 64;
    if (!wide) {
      const frame = make("div", { class: "picture" }, make("h3", {}, make("code", {}, register.name)));
      draw(frame, register);
      pictures.append(frame);
      continue;
    }
    // Vector registers are drawn when they are opened.
    const frame = make("details", { class: "picture" }, make("summary", {}, make("code", {}, register.name)));
    frame.addEventListener("toggle", () => { if (frame.children.length === 1) draw(frame, register); });
    pictures.append(frame);
  }
})();
