// Before the script of every component: elements with attributes and text, and drawing anew when there is news.
// All text is set with textContent; nothing that comes in is read as HTML.

function add(name, attributes, parent, text) {
  return fill(document.createElement(name), attributes, parent, text);
}

function fill(element, attributes, parent, text) {
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

// What `draw(data)` gives takes the place of what `root` holds, where the data are new; the focus stays on its place.
function redraw(root, data, draw) {
  const told = JSON.stringify(data);
  if (root.dataset.told === told) return;
  root.dataset.told = told;
  const focused = root.querySelector(":focus")?.dataset.place;
  root.replaceChildren(draw(data));
  if (focused) root.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true });
}
