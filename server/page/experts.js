/**
 * The live view of the experts that each layer chooses: asked for once a second while it is open and
 * the page is seen, and never otherwise.
 */

const SVG = "http://www.w3.org/2000/svg";
const INTERVAL_MS = 1000;
/** What is left of a choice after a second, so that the eye can follow. */
const FADE = 0.75;

/** Shows the view in `panel` while it is open. `ask` gets the server's answer. */
export function watchExperts(panel, ask) {
  const note = panel.querySelector(".note");
  const list = panel.querySelector("ol");
  /** Faded choices by layer. */
  const faded = new Map();
  let timer;

  async function update() {
    if (panel.hidden) return;
    if (!document.hidden) {
      try {
        paint((await ask()).layers);
      } catch (error) {
        note.textContent = error.message;
      }
    }
    timer = setTimeout(update, INTERVAL_MS);
  }

  function paint(layers) {
    note.textContent = layers.length === 0
      ? "Nothing has been computed yet, or no layer has experts."
      : "The last step, and a second or two before it. The stronger, the more often chosen.";
    layers.forEach(({ layer, counts }, row) => {
      const before = faded.get(layer) ?? counts.map(() => 0);
      const now = counts.map((count, i) => count + FADE * before[i]);
      faded.set(layer, now);
      paintRow(list.children[row] ?? list.appendChild(newRow()), layer, counts, now);
    });
    while (list.children.length > layers.length) list.lastElementChild.remove();
  }

  panel.addEventListener("toggled", () => {
    clearTimeout(timer);
    void update();
  });
}

function newRow() {
  const row = document.createElement("li");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  row.append(document.createElement("span"), svg);
  return row;
}

function paintRow(row, layer, counts, shown) {
  const [text, svg] = row.children;
  const used = counts.filter((count) => count > 0).length;
  const busiest = shown.indexOf(Math.max(...shown));
  const number = layer.match(/\.(\d+)(\.|$)/)?.[1];
  const name = number === undefined ? layer : `Layer ${number}`;
  text.textContent = `${name}: ${used} of ${counts.length} experts, busiest ${busiest}`;
  svg.setAttribute("viewBox", `0 0 ${counts.length} 1`);
  const most = Math.max(...shown);
  const cells = shown.flatMap((value, i) => {
    if (value < 0.01) return [];
    const cell = document.createElementNS(SVG, "rect");
    const place = { x: i + 0.05, y: 0, width: 0.9, height: 1 };
    for (const [key, each] of Object.entries(place)) cell.setAttribute(key, each);
    cell.setAttribute("fill-opacity", Math.max(0.1, value / most).toFixed(2));
    return [cell];
  });
  svg.replaceChildren(...cells);
}
