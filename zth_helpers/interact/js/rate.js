// Gradient descent on a valley with two curvatures: crawl, converge, oscillate, diverge.
import { axes, explorable, fixed, fmt, mark, shade, text, widget } from "./kit.js";

/** The path of plain gradient descent on ½(a·u² + b·v²): points, losses, and log10 of update:data at each step. */
export function descend({ start, curvatures: [a, b], rate, steps }) {
  const points = [[...start]], losses = [], ratios = [];
  let [u, v] = start;
  for (let k = 0; k <= steps; k++) {
    losses.push(0.5 * (a * u * u + b * v * v));
    if (k === steps) break;
    const step = [rate * a * u, rate * b * v];
    ratios.push(Math.log10(Math.hypot(...step) / Math.hypot(u, v)));
    [u, v] = [u - step[0], v - step[1]];
    points.push([u, v]);
  }
  return { points, losses, ratios };
}

/** What a rate does in a direction of curvature c: each step multiplies the distance by 1 - rate·c. */
export function verdict(rate, c) {
  const factor = 1 - rate * c;
  return factor < -1 ? "diverges" : factor <= -0.98 ? "swings for ever" : factor < 0 ? "oscillates" : factor < 0.91 ? "converges" : "crawls";
}

export function draw(el, { start, curvatures, steps }) {
  const x = explorable(el, "The rate on a loss surface");
  const rate = x.slider("log₁₀ of the rate", { min: -3, max: -0.3, step: 0.01, value: -2, show: (v) => `${fixed(v)} (rate ${fmt(10 ** v, 2)})` });
  const steep = x.slider("curvature across", { min: 1, max: 20, step: 1, value: curvatures[1] });
  const shown = x.slider("steps", { min: 1, max: steps, step: 1, value: steps });
  let from = [...start];
  const best = () => 2 / (curvatures[0] + steep.value);
  x.button("best rate", () => rate.set(Math.log10(best()).toFixed(2)));
  x.onReset(() => { from = [...start]; });
  const now = () => descend({ start: from, curvatures: [curvatures[0], steep.value], rate: 10 ** rate.value, steps: shown.value });

  let plane;
  const LIM = { x: [-4.2, 4.2], y: [-2.6, 2.6] };
  x.figure(320, (g) => {
    const w = g.w * 0.5 - 50, { points, losses, ratios } = now();
    plane = axes(g, { x: 46, y: 24, w, h: 246 }, { xlim: LIM.x, ylim: LIM.y, xlabel: "parameter u (flat direction)", ylabel: "parameter v", title: "the path: drag its start" });
    const { box } = plane, n = 56, m = 34;
    for (let j = 0; j < m; j++)
      for (let i = 0; i < n; i++) {
        const [u, v] = plane.back(box.x + ((i + 0.5) * box.w) / n, box.y + ((j + 0.5) * box.h) / m);
        const loss = 0.5 * (curvatures[0] * u * u + steep.value * v * v);
        g.ctx.fillStyle = shade(g, 0.09 * Math.floor(Math.min(6, 1.1 * Math.sqrt(loss))));
        g.ctx.fillRect(box.x + (i * box.w) / n, box.y + (j * box.h) / m, box.w / n + 0.6, box.h / m + 0.6);
      }
    plane.inside(() => {
      g.ctx.strokeStyle = g.cats[1]; g.ctx.lineWidth = 1.6; g.ctx.setLineDash([]); g.ctx.beginPath();
      points.forEach(([u, v], i) => { const [a, b] = [clip(plane.X(u)), clip(plane.Y(v))]; if (i) g.ctx.lineTo(a, b); else g.ctx.moveTo(a, b); });
      g.ctx.stroke();
      points.forEach(([u, v], i) => mark(g, 0, clip(plane.X(u)), clip(plane.Y(v)), i ? 2.5 : 7, i ? g.cats[1] : g.cats[3], g.paper));
      mark(g, 5, plane.X(0), plane.Y(0), 6, g.ink, g.paper);
    });
    const left = box.x + w + 66, room = g.w - left - 10, at = losses.map((_, i) => i);
    const curve = axes(g, { x: left, y: 24, w: room, h: 104 }, { xlim: [0, steps], ylim: [-4, 3], yticks: [-4, -2, 0, 2], ynames: ["0.0001", "0.01", "1", "100"], title: "loss" });
    curve.line(at, losses.map((l) => Math.log10(l + 1e-12)), g.cats[0], { width: 2 });
    const ratio = axes(g, { x: left, y: 166, w: room, h: 104 }, { xlim: [0, steps], ylim: [-4.5, 0.5], yticks: [-4, -3, -2, -1, 0], xlabel: "step", title: "log₁₀ of update : data" });
    ratio.level(-3, g.ink);
    ratio.line(at.slice(0, -1), ratios, g.cats[3], { width: 2 });
    text(g, "−3", left + room - 4, ratio.Y(-3) - 7, { align: "right", colour: g.muted, size: 11 });
  }, {
    cursor: "crosshair",
    label: "The loss surface: drag the start of the path, or move it with the arrow keys",
    pointer(kind, px, py) {
      if (kind === "down" || kind === "move") from = plane.back(px, py).map((v, i) => Math.max(-[4, 2.5][i], Math.min([4, 2.5][i], v)));
    },
    keys(key) {
      const [a, b] = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] }[key] ?? [0, 0];
      from = [Math.max(-4, Math.min(4, from[0] + a)), Math.max(-2.5, Math.min(2.5, from[1] + b))];
      return Boolean(a || b);
    },
  });
  x.words(() => {
    const r = 10 ** rate.value, { losses, ratios } = now(), [flat, across] = [curvatures[0], steep.value];
    return `Rate ${fmt(r, 2)}: along the flat direction it ${verdict(r, flat)} (each step × ${fixed(1 - r * flat)}), across it ${verdict(r, across)} (each step × ${fixed(1 - r * across)}). ` +
      `Loss ${fmt(losses[0])} → ${fmt(losses.at(-1))} in ${losses.length - 1} steps; the last update was ${fmt(10 ** ratios.at(-1), 2)} of the parameters (log₁₀ ${fixed(ratios.at(-1))}). Above 2/${across} = ${fmt(2 / across, 2)} nothing holds it.`;
  });
  return x.start();
}

const clip = (v) => Math.max(-5000, Math.min(5000, v));

export default widget(draw);
