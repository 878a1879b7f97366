// A pad to draw on: as many cells as the model sees. The pointer lays ink, the right button or Shift takes it away.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".pad");
  const told = JSON.stringify(data);
  if (root.dataset.told === told) return;
  root.dataset.told = told;
  const side = data.side;
  const ink = data.ink.slice();
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "A pad to draw on");
  const context = canvas.getContext("2d");
  const soft = side > 12 ? 0.5 : 0.28;

  function paint() {
    const image = context.createImageData(side, side);
    ink.forEach((value, at) => { const grey = Math.round(255 * (1 - value)); image.data.set([grey, grey, grey, 255], 4 * at); });
    context.putImageData(image, 0, 0);
  }
  function lay(event) {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * side, y = (event.clientY - box.top) / box.height * side;
    const erase = event.shiftKey || event.buttons === 2;
    for (let row = 0; row < side; row++) for (let column = 0; column < side; column++) {
      const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
      const amount = distance < 0.6 ? 1 : distance < 1.2 ? soft : 0;
      const at = row * side + column;
      if (amount) ink[at] = erase ? Math.max(0, ink[at] - amount) : Math.min(1, Math.max(ink[at], amount));
    }
    paint();
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); lay(event); });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons) lay(event); });
  const buttons = document.createElement("div");
  buttons.append(button("Clear", () => { ink.fill(0); paint(); }));
  buttons.append(button("Use this drawing", () => setTriggerValue("drawn", { ink: ink.map((value) => Math.round(1000 * value) / 1000), at: Date.now() })));
  paint();
  root.replaceChildren(canvas, buttons);
}

function button(words, pressed) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = words;
  element.addEventListener("click", pressed);
  return element;
}
