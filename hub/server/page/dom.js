/** Building elements, so that no text ever passes through an HTML parser. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `h("button", {class: "quiet", onclick: f, "aria-label": "Copy"}, icon("copy"))`.
 *
 * A property that begins with "on" is a listener, true is an empty attribute, null and false are left out; so are
 * children that are null.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else setAttribute(element, name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set, or with null and false remove, touching the element only where something changes. */
export function setAttribute(element, name, value) {
  const text = value === true ? "" : value;
  if (text === null || text === undefined || text === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(text)) element.setAttribute(name, text);
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A drawing from the sheet in index.html; it means nothing to a screen reader. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** An element of index.html, by its id. */
export function byId(id) {
  return document.getElementById(id);
}
