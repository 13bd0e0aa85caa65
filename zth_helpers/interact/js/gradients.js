// Lesson 5's tensors: the gradient by hand beside autograd's, and what a mistake does to it.
import { diverging, explorable, fmt, text, unpack, widget } from "./kit.js";

/** The largest difference of two arrays, with autograd's largest value; shapes must be equal to be compared. */
export function compare(mine, theirs) {
  const same = mine.shape.length === theirs.shape.length && mine.shape.every((v, i) => v === theirs.shape[i]);
  const peak = theirs.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  const equalLength = mine.length === theirs.length;
  let difference = equalLength ? 0 : NaN;
  if (equalLength) mine.forEach((v, i) => { difference = Math.max(difference, Math.abs(v - theirs[i])); });
  return { same, peak, difference };
}

const written = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

export function draw(el, { tensors, start }) {
  const x = explorable(el, "Gradients by hand, by autograd, and with a mistake");
  const names = Object.keys(tensors), cache = {};
  const values = (packed) => (cache[packed.data.slice(0, 40) + packed.data.length + packed.scale + packed.shape] ??= unpack(packed));
  const which = x.choice("tensor", names, start);
  const RIGHT = "without a mistake";
  const how = x.choice("by hand", [RIGHT]);
  const fill = () => {
    const options = [RIGHT, ...Object.keys(tensors[which.value].mistakes)];
    how.input.replaceChildren(...options.map((o) => Object.assign(document.createElement("option"), { value: o, textContent: o })));
    how.set(RIGHT);
  };
  which.onchange = () => { fill(); at = null; };
  const withMistakes = names.filter((n) => Object.keys(tensors[n].mistakes).length);
  if (withMistakes.length)
    x.button("next mistake", () => {
      const all = withMistakes.flatMap((n) => Object.keys(tensors[n].mistakes).map((m) => [n, m]));
      const i = all.findIndex(([n, m]) => n === which.value && m === how.value), [n, m] = all[(i + 1) % all.length];
      which.set(n); fill(); how.set(m); at = null;
    });
  let at = null, panels = [];
  x.onReset(() => { fill(); at = null; });
  fill();
  const now = () => {
    const t = tensors[which.value], theirs = values(t.autograd);
    return { t, theirs, mine: values(how.value === RIGHT ? t.by_hand : t.mistakes[how.value]) };
  };

  x.figure(318, (g) => {
    const { t, theirs, mine } = now(), { peak, difference } = compare(mine, theirs), bound = Math.max(peak, 1e-7);
    text(g, `forward:  ${t.forward}`, 8, 10, { mono: true });
    text(g, `backward: ${t.backward}`, 8, 28, { mono: true });
    const w = (g.w - 40) / 3, h = 216, top = 66;
    const gap = mine.length === theirs.length ? Object.assign(Float32Array.from(mine, (v, i) => v - theirs[i]), { shape: theirs.shape }) : null;
    panels = [];
    const parts = [["by autograd", theirs, bound], [how.value === RIGHT ? "by hand" : `by hand: ${how.value}`, mine, bound], ["difference", gap, difference > 1e-7 + 1e-4 * peak ? difference : bound]];
    parts.forEach(([title, array, most], k) => {
      const left = 8 + k * (w + 12);
      text(g, title, left, top - 14, { bold: true });
      if (!array) { text(g, "different numbers of values:", left, top + 20); text(g, "nothing to subtract", left, top + 38); return; }
      const cols = array.shape.at(-1) ?? 1, rows = array.length / cols, cw = w / cols, ch = Math.min(h / rows, 60);
      panels.push({ left, top, cols, rows, cw, ch, array });
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < cols; c++) {
          const v = array[r * cols + c] / most;
          g.ctx.fillStyle = diverging(g, Math.sign(v) * Math.sqrt(Math.abs(v)));
          g.ctx.fillRect(left + c * cw, top + r * ch, cw + 0.4, ch + 0.4);
        }
      g.ctx.strokeStyle = g.muted; g.ctx.lineWidth = 1; g.ctx.setLineDash([]);
      g.ctx.strokeRect(left, top, w, ch * rows);
      if (at && at.r < rows && at.c < cols) { g.ctx.strokeStyle = g.cats[3]; g.ctx.lineWidth = 2; g.ctx.strokeRect(left + at.c * cw - 1, top + at.r * ch - 1, cw + 2, ch + 2); }
      text(g, `${written(array.shape)}, largest ${fmt(array.reduce((m, v) => Math.max(m, Math.abs(v)), 0))}`, left, top + h + 18, { colour: g.muted });
    });
  }, {
    cursor: "crosshair",
    label: "Three pictures of the gradient: point at an element, or go through it with the arrow keys",
    pointer(kind, px, py) {
      for (const { left, top, cols, rows, cw, ch } of panels) {
        const [c, r] = [Math.floor((px - left) / cw), Math.floor((py - top) / ch)];
        if (c >= 0 && c < cols && r >= 0 && r < rows) at = { r, c };
      }
    },
    keys(key) {
      const [dr, dc] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key] ?? [0, 0];
      if ((!dr && !dc) || !panels.length) return false;
      const { rows, cols } = panels[0];
      at = at ? { r: (at.r + dr + rows) % rows, c: (at.c + dc + cols) % cols } : { r: 0, c: 0 };
      return true;
    },
  });
  x.words(() => {
    const { theirs, mine } = now(), { same, peak, difference } = compare(mine, theirs);
    const small = difference <= 1e-7 + 1e-4 * peak;
    const verdict = !same ? `Refused: the shape is ${written(mine.shape)}, that of the tensor is ${written(theirs.shape)}${small ? ", although the values are the same" : ""}`
      : small ? "The same as autograd's up to rounding" : `Different: by up to ${fmt(difference)}, where autograd's largest value is ${fmt(peak)}`;
    const zero = peak <= 1e-7 ? " Every true value is below 1e−7, which is to say 0." : "";
    const cols = theirs.shape.at(-1) ?? 1, i = at ? at.r * cols + at.c : -1;
    const here = at && i < theirs.length ? ` Row ${at.r}, column ${at.c}: autograd ${fmt(theirs[i])}${same ? `, by hand ${fmt(mine[i])}` : ""}.` : "";
    return `${which.value} ${written(theirs.shape)}, ${how.value}. ${verdict}.${zero}${here}`;
  });
  return x.start();
}

export default widget(draw);
