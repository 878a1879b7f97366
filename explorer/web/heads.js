// The heads of a model, layer under layer: each a button that shows its map. A click chooses it.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  redraw(parentElement.querySelector(".heads"), data, () => drawHeads(data, setTriggerValue));
}

function drawHeads(data, setTriggerValue) {
  const grid = add("div", { class: "grid", role: "group", "aria-label": data.label });
  grid.style.setProperty("--heads", data.most);
  for (const row of data.rows) {
    add("span", { class: "layer", title: row.title }, grid, row.name);
    const line = add("div", { class: "line " + row.gate }, grid);
    for (const cell of row.cells) {
      const kinds = ["head", cell.chosen ? "chosen" : "", cell.off ? "off" : "", cell.flag ? "flagged" : ""].join(" ").trim();
      const button = add("button", { type: "button", class: kinds, title: cell.title, "aria-label": cell.title, "aria-pressed": String(cell.chosen), "data-place": `${row.place}-${cell.head}` }, line);
      const map = add("span", { class: "map" }, button);
      map.style.setProperty("--map", `url(${cell.image})`);
      map.style.aspectRatio = cell.aspect;
      const words = add("span", { class: "words" }, button);
      add("span", { class: "name" }, words, cell.name);
      const number = add("b", {}, words, cell.number);
      number.style.setProperty("--shade", `${Math.round(70 * cell.shade)}%`);
      if (cell.flag) add("span", { class: "flag" }, button, cell.flag);
      button.addEventListener("click", () => setTriggerValue("chosen", { layer: row.layer, head: cell.head, at: Date.now() }));
    }
  }
  return grid;
}
