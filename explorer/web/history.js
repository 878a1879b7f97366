// Where you have been: accuracy against bytes, a dot for every move, a click brings that recipe back.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190, LEFT = 44, RIGHT = 16, TOP = 16, BOTTOM = 152;
const states = new WeakMap();

// Called at every change of the data; only the last call's clean-up counts (see chart.js).
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let state = states.get(parentElement);
  if (!state) {
    state = { calls: 0, root: parentElement.querySelector(".history") };
    states.set(parentElement, state);
    state.observer = new ResizeObserver(() => draw(state));
    state.observer.observe(state.root);
  }
  const call = ++state.calls;
  state.data = data;
  state.send = (place) => setTriggerValue("chosen", { place, at: Date.now() });
  draw(state);
  return () => {
    if (call !== state.calls) return;
    state.observer.disconnect();
    states.delete(parentElement);
  };
}

function make(name, attributes, parent, text) {
  return fill(document.createElementNS(SVG, name), attributes, parent, text);
}

function draw(state) {
  const { root, data } = state;
  if (!data) return;
  const width = Math.max(220, root.clientWidth);
  const inFocus = state.svg && state.svg.querySelector(":focus");
  const focused = inFocus ? inFocus.getAttribute("data-place") : null;
  const svg = make("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": data.label });
  const [xlow, xhigh] = data.sizes, [ylow, yhigh] = data.values;
  const x = (size) => LEFT + 8 + (width - LEFT - RIGHT - 16) * (size - xlow) / Math.max(1e-12, xhigh - xlow);
  const y = (value) => BOTTOM - 8 - (BOTTOM - TOP - 8) * (value - ylow) / Math.max(1e-12, yhigh - ylow);
  for (const [value, label] of data.yticks) {
    make("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }, svg);
    make("text", { class: "tick", x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, svg, label);
  }
  make("line", { class: "base", x1: LEFT, x2: width - RIGHT, y1: BOTTOM, y2: BOTTOM }, svg);
  for (const [size, label] of data.xticks) make("text", { class: "tick", x: x(size), y: BOTTOM + 16, "text-anchor": "middle" }, svg, label);
  make("text", { class: "tick", x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, svg, data.axis);
  const drawn = data.dots.filter((dot) => dot.value !== null);
  make("polyline", { class: "way", points: drawn.map((dot) => `${x(dot.size)},${y(dot.value)}`).join(" ") }, svg);
  const ordered = [...drawn].sort((a, b) => (a.current - b.current) || (a.dense - b.dense));
  for (const dot of ordered) {
    const kind = ["dot", dot.dense ? "dense" : "", dot.current ? "current" : "", dot.partial ? "partial" : ""].join(" ").trim();
    const circle = make("circle", { class: kind, cx: x(dot.size), cy: y(dot.value), r: dot.current ? 7 : dot.dense ? 5.5 : 5, tabindex: 0, role: "button",
      "data-place": dot.place, "aria-label": `Go back to: ${dot.words}` }, svg);
    make("title", {}, circle, dot.words);
    circle.addEventListener("click", () => state.send(dot.place));
    circle.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); state.send(dot.place); } });
    if (dot.current || dot.dense) {
      const near = x(dot.size) > width - 70;
      make("text", { class: dot.current ? "name now" : "name", x: x(dot.size) + (near ? -11 : 11), y: y(dot.value) + (dot.current ? 17 : -8), "text-anchor": near ? "end" : "start" }, svg, dot.current ? "now" : "dense");
    }
  }
  root.replaceChildren(svg);
  state.svg = svg;
  if (focused !== null) svg.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
}
