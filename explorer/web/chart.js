// The knob that is a picture: bars below, the measured curve above on the same axis, and a line to drag.
// All text is set with textContent; nothing that comes in is read as HTML.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 308, LEFT = 46, RIGHT = 14;
const CURVE = { top: 16, bottom: 84 }, BARS = { top: 106, bottom: 260 };
const states = new WeakMap();

// Called at every change of the data. A call that the page has overtaken is cleaned up after the next one has begun,
// so only the last call's clean-up counts.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let state = states.get(parentElement);
  if (!state) {
    state = { place: 0, pending: null, dragging: false, width: 0, calls: 0, root: parentElement.querySelector(".chart") };
    states.set(parentElement, state);
    state.root.replaceChildren();
    state.observer = new ResizeObserver(() => { if (state.data) draw(state); });
    state.observer.observe(state.root);
  }
  const call = ++state.calls;
  state.send = (value) => setTriggerValue("moved", value);
  state.data = data;
  if (state.pending !== null && state.pending !== data.version) state.pending = null;
  if (!state.dragging && state.pending === null) state.place = data.place;
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

const grouped = (n) => Math.round(n).toLocaleString("en-US");
const percent = (share, digits = 1) => {
  const value = 100 * share;
  if (value > 0 && value < 0.05) return "< 0.1 %";
  if (value < 100 && value >= 99.95) return "> 99.9 %";
  return value.toFixed(digits) + " %";
};
function digits(value) {
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(8, Math.max(0, 2 - power)));
}
const metric = (data, value) => data.share ? (100 * value).toFixed(1) + " %" : (Math.abs(value) < 100 ? value.toFixed(3) : value.toPrecision(4));

// Where the knob stands is a number between 0 and data.last (positions); along() turns it into pixels.
function along(state, place) {
  const inner = state.width - LEFT - RIGHT;
  return LEFT + inner * (state.data.last ? (place - state.data.offset) / (state.data.last - state.data.offset + state.data.tail) : 0);
}
function placeAt(state, pixel) {
  const inner = state.width - LEFT - RIGHT, data = state.data;
  const raw = data.offset - shift(data) + (pixel - LEFT) / inner * (data.last - data.offset + data.tail);
  const least = leastPlace(data);
  return Math.min(data.last, Math.max(least, Math.round(raw)));
}
// A rank stands at the right edge of its bar: what is left of the line is kept.
const isStepped = (data) => data.kind === "rank" || data.kind === "bits";
const shift = (data) => isStepped(data) ? 0.5 : 0;
const leastPlace = (data) => data.least ?? (data.kind === "rank" ? 1 : 0);
// The value on the axis that belongs to a position, and back.
const valueAt = (data, place) => isStepped(data) || data.kind === "kept" ? place : data.kind === "share" ? place / data.last : data.upper * place / data.last;

function draw(state) {
  const { root, data } = state;
  const width = Math.max(320, root.clientWidth);
  state.width = width;
  let svg = state.svg;
  if (!svg) {
    svg = state.svg = make("svg", { class: "drawing", height: HEIGHT }, root);
    state.layers = {};
    for (const name of ["grid", "bars", "curve", "marks", "line"]) state.layers[name] = make("g", { class: name }, svg);
    listen(state);
  }
  svg.setAttribute("width", width);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  drawBars(state);
  drawCurve(state);
  drawAxis(state);
  drawLine(state);
}

function drawBars(state) {
  const { data } = state, layer = state.layers.bars;
  layer.replaceChildren();
  const tallest = Math.max(1e-12, ...data.bars.map((bar) => bar[2]));
  state.clips = {};
  const defs = make("defs", {}, layer);
  for (const side of ["gone", "kept"]) {
    const id = `clip-${side}`;
    const clip = make("clipPath", { id }, defs);
    state.clips[side] = make("rect", { y: 0, height: HEIGHT }, clip);
    const group = make("g", { class: side, "clip-path": `url(#${id})` }, layer);
    for (const [from, to, height] of data.bars) {
      const x0 = along(state, from), x1 = along(state, to), tall = (BARS.bottom - BARS.top) * height / tallest;
      const gap = x1 - x0 > 5 ? 1.5 : x1 - x0 > 2 ? 0.5 : 0;
      make("rect", { x: x0, width: Math.max(0.6, x1 - x0 - gap), y: BARS.bottom - tall, height: tall, rx: x1 - x0 > 6 ? 1.5 : 0 }, group);
    }
  }
}

function drawCurve(state) {
  const { data } = state, layer = state.layers.curve;
  layer.replaceChildren();
  const values = data.curve.flatMap((point) => [point[1]]);
  if (data.dense !== null) values.push(data.dense);
  if (data.now !== null) values.push(data.now);
  let low = data.share ? 0 : Math.min(...values, 0), high = data.share ? 1 : Math.max(...values, low + 1e-9);
  if (!values.length) { low = 0; high = 1; }
  state.y = (value) => CURVE.bottom - (CURVE.bottom - CURVE.top) * (Math.min(high, Math.max(low, value)) - low) / (high - low);
  for (const value of [low, high]) {
    make("line", { class: "rule", x1: LEFT, x2: state.width - RIGHT, y1: state.y(value), y2: state.y(value) }, layer);
    make("text", { class: "tick", x: LEFT - 7, y: state.y(value) + 4, "text-anchor": "end" }, layer, data.share ? Math.round(100 * value) + " %" : digits(value));
  }
  if (data.dense !== null) make("line", { class: "dense", x1: LEFT, x2: state.width - RIGHT, y1: state.y(data.dense), y2: state.y(data.dense) }, layer);
  const points = data.curve.map((point) => [along(state, point[0] + shift(data)), ...point.slice(1)]);
  if (points.length > 1) {
    if (!data.growing) {
    const band = points.map((p) => `${p[0]},${state.y(p[3])}`).concat([...points].reverse().map((p) => `${p[0]},${state.y(p[2])}`));
    make("polygon", { class: "band", points: band.join(" ") }, layer);
    }
    make("polyline", { class: data.growing ? "measured growing" : "measured", points: points.map((p) => `${p[0]},${state.y(p[1])}`).join(" ") }, layer);
  }
  for (const p of points) make("circle", { class: "point", cx: p[0], cy: state.y(p[1]), r: points.length > 60 ? 0 : 1.7 }, layer);
  make("text", { class: "label", x: state.width - RIGHT, y: 10, "text-anchor": "end" }, layer, data.curveLabel);
}

function drawAxis(state) {
  const { data } = state, layer = state.layers.grid;
  layer.replaceChildren();
  make("line", { class: "base", x1: LEFT, x2: state.width - RIGHT, y1: BARS.bottom, y2: BARS.bottom }, layer);
  for (const [place, label] of data.ticks) {
    const x = along(state, place);
    make("line", { class: "base", x1: x, x2: x, y1: BARS.bottom, y2: BARS.bottom + 4 }, layer);
    const last = x > state.width - RIGHT - 14;
    make("text", { class: "tick", x: last ? state.width - 2 : x, y: BARS.bottom + 17, "text-anchor": last ? "end" : "middle" }, layer, label);
  }
  make("text", { class: "label", x: (LEFT + state.width - RIGHT) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, layer, data.axis);
  if (data.energy) {
    const line = data.energy.map((share, index) => `${along(state, index + 1.5)},${BARS.bottom - (BARS.bottom - BARS.top) * share}`);
    make("polyline", { class: "energy", points: line.join(" ") }, layer);
    make("text", { class: "tick halo", x: state.width - RIGHT, y: BARS.top - 8, "text-anchor": "end" }, layer, "line: share of the energy kept by the first ranks");
  }
  if (data.breakEven !== null && data.breakEven <= data.last) {
    const x = along(state, data.breakEven);
    make("line", { class: "even", x1: x, x2: x, y1: BARS.top - 2, y2: BARS.bottom }, layer);
    const right = x < state.width * 0.62;
    make("text", { class: "tick even halo", x: x + (right ? 5 : -5), y: BARS.top + 16, "text-anchor": right ? "start" : "end" }, layer, `saves below ${Number(data.breakEven.toFixed(1))}`);
  }
}

function estimated(data, place) {
  const curve = data.curve;
  if (!curve.length || place < curve[0][0] || place > curve[curve.length - 1][0]) return null;
  for (let i = 1; i < curve.length; i++) {
    if (place <= curve[i][0]) {
      const [x0, y0] = curve[i - 1], [x1, y1] = curve[i];
      return x1 === x0 ? y1 : y0 + (y1 - y0) * (place - x0) / (x1 - x0);
    }
  }
  return curve[curve.length - 1][1];
}

// What the box beside the line says: at rest the engine's exact numbers, during a drag those of the position.
function wordsOf(state) {
  const { data } = state, place = state.place, resting = !state.dragging && state.pending === null;
  const lines = [];
  if (data.kind === "rank") {
    const share = data.energy ? data.energy[Math.max(0, Math.round(place) - 1)] : null;
    lines.push(`rank ${Math.round(place)} of ${data.last}`);
    if (share !== null) lines.push(`${percent(share)} of the energy`);
    if (data.breakEven !== null) lines.push(place < data.breakEven ? `${percent(Math.round(place) / data.breakEven)} of the numbers` : "two thin matrices would be larger");
  } else if (data.kind === "bits") {
    lines.push(`${Math.round(place)} bits`);
    lines.push(`${grouped(2 ** Math.round(place))} different values at most`);
  } else if (data.kind === "kept") {
    lines.push(`${Math.round(place)} of every ${data.last} kept`);
    lines.push(`${percent(data.shares[Math.round(place)])} of the weights goes`);
  } else if (data.kind === "share") {
    lines.push(`${percent(place / data.last)} goes`);
    lines.push(`${grouped(data.total * place / data.last)} of ${grouped(data.total)} ${data.noun}`);
  } else {
    const removed = resting ? data.removed : data.counts[Math.round(place)];
    const threshold = resting ? data.threshold : valueAt(data, place);
    lines.push(removed ? `${data.symbol} < ${digits(threshold)} goes` : "nothing goes");
    lines.push(`${grouped(removed)} of ${grouped(data.total)} ${data.noun} · ${percent(data.total ? removed / data.total : 0)}`);
  }
  const guess = estimated(data, place);
  if (!resting && guess !== null) lines.push(`about ${metric(data, guess)} by the curve`);
  return lines;
}

// The line and its handle are made once and moved: what is focused or dragged must not be replaced.
function lineParts(state) {
  if (state.parts) return state.parts;
  const layer = state.layers.line;
  const line = make("line", { class: "knob", y1: CURVE.top - 4, y2: BARS.bottom }, layer);
  const dot = make("circle", { class: "dot", r: 5.5 }, layer);
  const handle = make("g", { class: "handle", tabindex: 0, role: "slider" }, layer);
  make("circle", { r: 11 }, handle);
  make("path", { d: "M-2.5,-4 L-6,0 L-2.5,4 M2.5,-4 L6,0 L2.5,4" }, handle);
  const words = make("g", { class: "words" }, layer);
  state.parts = { line, dot, handle, words };
  return state.parts;
}

function drawLine(state) {
  const { data } = state, { line, dot, handle, words } = lineParts(state);
  const x = along(state, state.place + shift(data));
  const [first, second] = isStepped(data) || data.kind === "kept" ? ["kept", "gone"] : ["gone", "kept"];
  state.clips[first].setAttribute("x", 0); state.clips[first].setAttribute("width", Math.max(0, x - 0.75));
  state.clips[second].setAttribute("x", x - 0.75); state.clips[second].setAttribute("width", Math.max(0, state.width - x + 0.75));
  line.setAttribute("x1", x); line.setAttribute("x2", x);
  const resting = !state.dragging && state.pending === null;
  const y = resting && data.now !== null ? data.now : estimated(data, state.place);
  dot.setAttribute("visibility", y === null ? "hidden" : "visible");
  if (y !== null) { dot.setAttribute("cx", x); dot.setAttribute("cy", state.y(y)); }
  const text = wordsOf(state);
  const told = { transform: `translate(${x},${(BARS.top + BARS.bottom) / 2 + 18})`, "aria-label": data.label, "aria-valuemin": valueAt(data, 0),
    "aria-valuemax": valueAt(data, data.last), "aria-valuenow": valueAt(data, state.place), "aria-valuetext": text.join(", ") };
  for (const name in told) handle.setAttribute(name, told[name]);
  drawWords(state, words, x, data.invite && !state.dragging ? [data.invite, ...text.slice(0, 1)] : text);
}

function drawWords(state, group, x, lines) {
  group.replaceChildren();
  const box = make("rect", { rx: 5 }, group);
  const texts = lines.map((line, index) => make("text", { class: index ? "small" : "strong", x: 12, y: 21 + 17 * index }, group, line));
  const width = Math.max(120, ...texts.map((text) => text.getComputedTextLength())) + 24, height = 14 + 17 * lines.length + 2;
  box.setAttribute("width", width); box.setAttribute("height", height);
  const side = x + 14 + width < state.width - 4 ? x + 14 : Math.max(2, x - 14 - width);
  const below = state.data.breakEven === null ? 2 : 24;  // the break-even's label stays readable above it
  group.setAttribute("transform", `translate(${side},${BARS.top + below})`);
}

function listen(state) {
  const { svg } = state;
  const pixel = (event) => event.clientX - svg.getBoundingClientRect().left;
  const move = (place) => { if (place !== state.place) { state.place = place; drawLine(state); } };
  const commit = () => {
    if (state.timer) { clearTimeout(state.timer); state.timer = null; }
    if (state.data.place === state.place) { drawLine(state); return; }
    state.pending = state.data.version;
    state.send({ place: state.place, value: valueAt(state.data, state.place), at: Date.now() });
    drawLine(state);
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const y = event.clientY - svg.getBoundingClientRect().top;
    if (y > BARS.bottom + 26) return;
    svg.setPointerCapture(event.pointerId);
    state.dragging = true; state.parts.handle.focus({ preventScroll: true }); state.root.classList.add("dragging");
    move(placeAt(state, pixel(event))); drawLine(state);
    event.preventDefault();
  });
  svg.addEventListener("pointermove", (event) => { if (state.dragging) move(placeAt(state, pixel(event))); });
  const stop = (event) => {
    if (!state.dragging) return;
    state.dragging = false; state.root.classList.remove("dragging");
    if (event.type === "pointerup") commit(); else { state.place = state.data.place; drawLine(state); }
  };
  svg.addEventListener("pointerup", stop);
  svg.addEventListener("pointercancel", stop);
  svg.addEventListener("keydown", (event) => {
    const { data } = state, page = Math.max(1, Math.round(data.last / 20)), one = data.last < 320 ? 1 : Math.max(1, Math.round(data.last / 320));
    const steps = { ArrowRight: one, ArrowUp: one, ArrowLeft: -one, ArrowDown: -one, PageUp: page, PageDown: -page, Home: -data.last, End: data.last };
    if (event.key === "Enter") { commit(); return; }
    if (!(event.key in steps)) return;
    event.preventDefault();
    if (state.pending === null) state.pending = data.version;
    move(Math.min(data.last, Math.max(leastPlace(data), Math.round(state.place) + steps[event.key])));
    clearTimeout(state.timer);
    state.timer = setTimeout(commit, 280);
  });
}
