import { svg } from "./dom.js";

// Outlines on a grid of 24, our own.
const PATHS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  menu: "M4 7h16M4 12h16M4 17h10",
  trash: "M5 7h14M10 7V5h4v2M7 7l1 12h8l1-12M10.5 11v5M13.5 11v5",
  eraser: "M9 19h11M5.2 14.300l8-8.500a1.8 1.8 0 0 1 2.6 0l3.2 3.100a1.8 1.8 0 0 1 0 2.600L12 19H9l-3.8-3.200a1.1 1.1 0 0 1 0-1.500zM9.8 9.800l5.6 5.6",
  sliders: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  send: "M12 19V6M6 11.500L12 5.500l6 6",
  stop: "M8 8h8v8H8z",
  picture: "M5 5h14a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1zM4.5 17l5-5 4 4 2.5-2.5 3.5 3.500M15.5 9.500h.01",
  expand: "M14 5h5v5M10 19H5v-5M19 5l-6 6M5 19l6-6",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  check: "M5 12.500l4.5 4.500L19 7.5",
  edit: "M5 19l.7-3.500L15.5 5.700a1.6 1.6 0 0 1 2.3 0l.5.5a1.6 1.6 0 0 1 0 2.300L8.5 18.3 5 19zM14 7.500l2.5 2.5",
  again: "M19 12a7 7 0 1 1-2.2-5.100M19 4.500V8h-3.5",
  down: "M12 5v13M6 12.500l6 6 6-6",
  save: "M12 4v11M7.5 11L12 15.5 16.5 11M5 19.500h14",
  boxes: "M5 8V6a1 1 0 0 1 1-1h2M16 5h2a1 1 0 0 1 1 1v2M19 16v2a1 1 0 0 1-1 1h-2M8 19H6a1 1 0 0 1-1-1v-2M9.5 9.500h5v5h-5z",
  warning: "M12 5l8 14H4zM12 10.500v4M12 16.800h.01",
  sun: "M12 8.500a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM12 3.500v1.500M12 19v1.500M3.5 12H5M19 12h1.500M6 6l1 1M17 17l1 1M18 6l-1 1M7 17l-1 1",
  moon: "M19 14.300A7.5 7.5 0 0 1 9.7 5a7.5 7.5 0 1 0 9.3 9.300z",
  auto: "M12 4.500a7.5 7.5 0 1 1 0 15 7.5 7.5 0 0 1 0-15zM12 4.500v15M12 8h4.500M12 12h7M12 16h4.5",
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}

/** Put an icon where the page's HTML names one. */
export function placeIcons(root = document) {
  for (const node of root.querySelectorAll("[data-icon]")) node.prepend(icon(node.dataset.icon));
}

/** Change a button's icon. */
export function setIcon(button, name) {
  button.querySelector("svg")?.remove();
  button.prepend(icon(name));
}
