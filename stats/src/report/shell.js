"use strict";
(() => {
  // Theme: what the system says until the button is used.
  const root = document.documentElement;
  const themeButton = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const remember = (theme) => { try { localStorage.setItem("fits-theme", theme); } catch { /* not allowed here */ } };
  const remembered = () => { try { return localStorage.getItem("fits-theme"); } catch { return null; } };
  const label = () => { themeButton.textContent = isDark() ? "Change to light" : "Change to dark"; };
  if (remembered() === "dark" || remembered() === "light") root.dataset.theme = remembered();
  label();
  system.addEventListener("change", label);
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    label();
  });

  // Tables are sorted by the buttons in their heads.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const value = (row, column) => {
      const cell = row.cells[column];
      return cell.dataset.sort === undefined ? cell.textContent : Number(cell.dataset.sort);
    };
    heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
      const numeric = head.classList.contains("num");
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : !numeric;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
        return ascending ? order : -order;
      });
      table.tBodies[0].append(...rows);
    }));
  }
})();
