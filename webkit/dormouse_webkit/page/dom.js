// Builds elements from text and never from markup: what a model is called or why it moved comes from elsewhere, and
// here it can only become text. There is no innerHTML in this page.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (null leaves one out) and children (nodes, or strings that become text). */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Writes only what changed: a selection survives, and a screen reader has nothing to read again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, shown) {
  if (node.hidden === shown) node.hidden = !shown;
}

/** An emoji that says what the text beside it says as well, so it isn't read out. */
export function emoji(sign) {
  return el("span", { "aria-hidden": "true", class: "emoji" }, sign);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}
