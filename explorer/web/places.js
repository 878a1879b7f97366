// Attention on the input: words, the patches of a picture or features, shaded by how much they get, one panel a model.
// A click chooses the place.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const choose = (place) => setTriggerValue("chosen", { place, at: Date.now() });
  redraw(parentElement.querySelector(".places"), data, () => drawPanels(data, choose));
}

function drawPanels(data, choose) {
  const panels = add("div", { class: `panels ${data.mode}` });
  panels.style.setProperty("--count", data.panels.length);
  data.panels.forEach((panel, number) => {
    const figure = add("figure", { class: "panel" }, panels);
    const caption = add("figcaption", { class: panel.kind }, figure, panel.title);
    add("span", {}, caption, panel.note);
    const box = add("div", { class: "box", role: "group", "aria-label": panel.title }, figure);
    if (data.mode === "grid") drawGrid(box, data, panel, number, choose);
    else if (data.mode === "bars") drawBars(box, data, panel, number, choose);
    else drawWords(box, data, panel, number, choose);
  });
  return panels;
}

function place(box, data, panel, number, at, kind, text, choose) {
  const title = `${data.labels[at]}: ${panel.values[at]}`;
  const chosen = data.chosen === at;
  const button = add("button", { type: "button", class: `${kind}${chosen ? " chosen" : ""}`, title, "aria-label": title, "aria-pressed": String(chosen), "data-place": `${number}-${at}` }, box, text);
  const shade = panel.shades[at];
  button.style.setProperty("--shade", `${Math.round(100 * Math.abs(shade))}%`);
  button.style.setProperty("--colour", `var(--ce-${panel.signed ? (panel.kind === "difference" ? (shade < 0 ? "less" : "more") : shade < 0 ? "negative" : "positive") : "variant"})`);
  button.addEventListener("click", () => choose(at));
  return button;
}

function drawWords(box, data, panel, number, choose) {
  for (let at = 0; at < data.labels.length; at++) {
    if (data.labels[at] !== "") place(box, data, panel, number, at, "word", data.labels[at] === " " ? "\u00a0" : data.labels[at], choose);
  }
}

function drawGrid(box, data, panel, number, choose) {
  if (data.first) {
    const own = add("div", { class: "own" }, box);
    for (let at = 0; at < data.first; at++) place(own, data, panel, number, at, "word", `${data.labels[at]} ${panel.values[at]}`, choose);
  }
  const picture = add("div", { class: "picture" }, box);
  if (data.picture) picture.style.backgroundImage = `url(${data.picture})`;
  picture.style.aspectRatio = `${data.columns} / ${data.rows}`;
  picture.style.gridTemplateColumns = `repeat(${data.columns}, 1fr)`;
  for (let at = data.first; at < data.first + data.rows * data.columns; at++) place(picture, data, panel, number, at, "patch", "", choose);
}

function drawBars(box, data, panel, number, choose) {
  for (const at of data.order) {
    const row = place(box, data, panel, number, at, "feature", "", choose);
    add("span", { class: "name" }, row, data.labels[at]);
    add("span", { class: "bar" }, row);
    add("span", { class: "number" }, row, panel.values[at]);
  }
}
