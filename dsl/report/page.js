// Pictures of the graph that can be moved and made larger, by pointer and by keyboard. Without this
// script they show all of themselves.
"use strict";
for (const picture of document.querySelectorAll(".picture")) {
  const svg = picture.querySelector("svg");
  const whole = svg.viewBox.baseVal;
  const size = { width: whole.width, height: whole.height };
  let view = { x: 0, y: 0, scale: 1 };

  const show = () => {
    const { width, height } = svg.getBoundingClientRect();
    if (width === 0) return;
    const [w, h] = [width / view.scale, height / view.scale];
    view.x = Math.min(Math.max(view.x, Math.min(0, size.width - w)), Math.max(0, size.width - w));
    view.y = Math.min(Math.max(view.y, Math.min(0, size.height - h)), Math.max(0, size.height - h));
    // What is smaller than the frame stands in its middle.
    const x = w > size.width ? (size.width - w) / 2 : view.x;
    const y = h > size.height ? (size.height - h) / 2 : view.y;
    svg.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
  };
  const all = () => {
    const { width, height } = svg.getBoundingClientRect();
    view = { x: 0, y: 0, scale: Math.min(1.5, width / size.width, height / size.height) };
    show();
  };
  const zoom = (factor) => {
    const { width, height } = svg.getBoundingClientRect();
    const scale = Math.min(4, Math.max(0.05, view.scale * factor));
    view.x += width / 2 / view.scale - width / 2 / scale;
    view.y += height / 2 / view.scale - height / 2 / scale;
    view.scale = scale;
    show();
  };
  const move = (x, y) => {
    view.x += x / view.scale;
    view.y += y / view.scale;
    show();
  };
  const start = () => {
    // The frame is no higher than its picture; text at its own size, so that it can be read.
    svg.style.height = `min(70vh, ${Math.ceil(size.height)}px)`;
    const { width } = svg.getBoundingClientRect();
    view = { x: Math.max(0, (size.width - width) / 2), y: 0, scale: 1 };
    show();
  };

  picture.addEventListener("keydown", (event) => {
    const keys = {
      "+": () => zoom(1.25),
      "=": () => zoom(1.25),
      "-": () => zoom(0.8),
      "0": all,
      ArrowLeft: () => move(-60, 0),
      ArrowRight: () => move(60, 0),
      ArrowUp: () => move(0, -60),
      ArrowDown: () => move(0, 60),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  picture.addEventListener("click", ({ target }) => {
    const zooms = { in: () => zoom(1.25), out: () => zoom(0.8), all };
    const button = target.closest("[data-zoom]");
    if (button) zooms[button.dataset.zoom]();
  });
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.target.closest("button")) return;
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointermove", (event) => {
    if (picture.hasPointerCapture(event.pointerId)) move(-event.movementX, -event.movementY);
  });
  // The wheel scrolls the page as everywhere; with the control key it changes the size.
  picture.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 1.1 : 0.9);
  }, { passive: false });
  new ResizeObserver(show).observe(svg);
  picture.closest("details")?.addEventListener("toggle", start, { once: true });
  start();
}
