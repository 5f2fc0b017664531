
"use strict";
// The heads of the columns become buttons that sort the rows of this page. Rows that are
// equal stay in the order of their names, in which they came.
const body = document.getElementById("rows"), heads = [...document.querySelectorAll("th")];
if (body) {
  const rows = [...body.rows].map((row, at) => [row, at, Number(row.cells[1].firstChild.value), row.cells[2].textContent]);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort"), up = was ? was !== "ascending" : column !== 1; // the largest first
      for (const h of heads) h.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = column + 1, way = up ? 1 : -1;
      rows.sort((a, b) => way * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) || a[1] - b[1]);
      body.replaceChildren(...rows.map(r => r[0]));
    });
  });
}
