// A table whose cells are buttons: each says how much is lost there, and a click takes it into the recipe.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  redraw(parentElement.querySelector(".cells"), data, () => drawTable(data, setTriggerValue));
}

function drawTable(data, setTriggerValue) {
  const table = add("table", {}, null);
  const head = add("tr", {}, add("thead", {}, table));
  for (const name of data.columns) add("th", {}, head, name);
  const body = add("tbody", {}, table);
  for (const row of data.rows) {
    const line = add("tr", {}, body);
    add("th", { scope: "row", title: row.title }, line, row.name);
    add("td", { class: "bears" }, line, row.bears);
    for (const cell of row.cells) {
      const place = add("td", {}, line);
      if (!cell) { add("span", { class: "waiting" }, place, "·"); continue; }
      const button = add("button", { type: "button", title: cell.title, "aria-label": cell.title, "data-place": cell.place }, place, cell.text);
      const side = cell.depth < 0 ? "less" : "more";
      button.style.background = `color-mix(in srgb, var(--ce-${side}) ${Math.round(78 * Math.abs(cell.depth))}%, var(--ce-card))`;
      button.classList.toggle("deep", Math.abs(cell.depth) > 0.6);
      button.addEventListener("click", () => setTriggerValue("chosen", { place: cell.place, at: Date.now() }));
    }
  }
  return table;
}
