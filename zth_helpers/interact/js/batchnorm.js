// Batch norm over a few examples of one neuron: move one, and the others move too.
import { axes, explorable, fixed, mark, text, widget } from "./kit.js";

/** (values - mean) / std, with the std over n - 1, as in the lesson. */
export function normalise(values) {
  const n = values.length, mean = values.reduce((s, v) => s + v, 0) / n;
  const std = Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / (n - 1));
  return { mean, std, out: values.map((v) => (v - mean) / std) };
}

export function draw(el, { values }) {
  const x = explorable(el, "Batch norm: move one example, watch the others");
  const n = values.length, REACH = Math.max(10, ...values.map((v) => Math.ceil(1.2 * Math.abs(v)))), HIGH = (n - 1) / Math.sqrt(n) + 0.4;
  let v = [...values], at = 0;
  const which = x.choice("example", values.map((_, i) => String(i)), "0");
  const place = x.slider("its value", { min: -REACH, max: REACH, step: 0.05, value: v[0], show: (w) => fixed(w) });
  const gamma = x.slider("gain γ", { min: 0, max: 3, step: 0.05, value: 1 });
  const beta = x.slider("bias β", { min: -3, max: 3, step: 0.05, value: 0 });
  const pick = (i) => { at = i; which.set(String(i)); place.set(v[i]); };
  which.onchange = () => pick(+which.value);
  place.onchange = () => { v[at] = place.value; };
  x.onReset(() => { v = [...values]; pick(0); });
  const before = normalise(values).out;
  const now = () => {
    const { mean, std, out } = normalise(v);
    return std < 1e-9 ? null : { mean, std, out: out.map((o) => gamma.value * o + beta.value) };
  };

  let upper;
  x.figure(300, (g) => {
    const left = 60, w = g.w - left - 12, r = now();
    const label = (ax, i, u, vv) => text(g, String(i), ax.X(u), ax.Y(vv) - 13, { size: 11, align: "center", bold: i === at });
    upper = axes(g, { x: left, y: 28, w, h: 62 }, { xlim: [-REACH, REACH], ylim: [0, 1], yticks: [], title: "before: drag an example" });
    const lower = axes(g, { x: left, y: 190, w, h: 62 }, { xlim: [-HIGH * 3 - 3, HIGH * 3 + 3].map((b) => b / 2), ylim: [0, 1], yticks: [], title: "after: γ · (x − mean) / std + β  (rings: where they were before you moved anything)", xlabel: "value of the neuron" });
    if (r) {
      const [a, b] = [upper.X(r.mean - r.std), upper.X(r.mean + r.std)];
      g.ctx.fillStyle = g.soft; g.ctx.fillRect(a, 29, b - a, 60);
      text(g, `mean ${fixed(r.mean)}, std ${fixed(r.std)}`, Math.max(left + 60, Math.min(left + w - 60, (a + b) / 2)), 40, { align: "center", colour: g.muted, size: 11 });
    }
    v.forEach((value, i) => {
      const colour = i === at ? g.cats[1] : g.cats[0];
      if (r) {
        g.ctx.strokeStyle = colour; g.ctx.lineWidth = i === at ? 1.8 : 0.9; g.ctx.setLineDash(i === at ? [] : [4, 3]);
        g.ctx.beginPath(); g.ctx.moveTo(upper.X(value), 112); g.ctx.lineTo(lower.X(r.out[i]), 158); g.ctx.stroke();
        mark(g, 0, lower.X(before[i]), lower.Y(0.4), 7, null, g.muted);
        mark(g, i === at ? 1 : 0, lower.X(r.out[i]), lower.Y(0.4), i === at ? 8 : 6, colour);
        label(lower, i, r.out[i], 0.4);
      }
      mark(g, i === at ? 1 : 0, upper.X(value), upper.Y(0.35), i === at ? 8 : 6, colour);
      label(upper, i, value, 0.35);
    });
  }, {
    cursor: "ew-resize",
    label: "The values of the neuron: drag one, or choose it with the up and down arrow keys and move it with left and right",
    pointer(kind, px, py) {
      if (kind !== "down" && kind !== "move") return;
      const [u] = upper.back(px, py);
      if (kind === "down") pick(v.reduce((best, value, i) => (Math.abs(value - u) < Math.abs(v[best] - u) ? i : best), 0));
      v[at] = Math.max(-REACH, Math.min(REACH, Math.round(u * 20) / 20));
      place.set(v[at]);
    },
    keys(key) {
      const other = { ArrowUp: 1, ArrowDown: -1 }[key], side = { ArrowRight: 0.25, ArrowLeft: -0.25 }[key];
      if (other) pick((at + other + n) % n);
      if (side) { v[at] = Math.max(-REACH, Math.min(REACH, v[at] + side)); place.set(v[at]); }
      return Boolean(other || side);
    },
  });
  x.words(() => {
    const r = now();
    if (!r) return "All values are equal: their standard deviation is 0, and nothing can be divided by it.";
    const others = r.out.filter((_, i) => i !== at), spread = Math.max(...others) - Math.min(...others);
    return `Example ${at} at ${fixed(v[at])}: mean ${fixed(r.mean)}, std ${fixed(r.std)}. After the norm it stands at ${fixed(r.out[at])}, ` +
      `and the other ${n - 1} lie within ${fixed(spread)} of each other. No example of ${n} can get further out than (n − 1)/√n = ${fixed((n - 1) / Math.sqrt(n))} standard deviations.`;
  });
  return x.start();
}

export default widget(draw);
