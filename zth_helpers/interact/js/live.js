// A network while it trains: outputs, gradients, loss and updates, from a few hundred numbers about once a second.
import { axes, depth, explorable, fmt, text, widget } from "./kit.js";

const DASHES = [[], [5, 2], [2, 1.5], [6, 2, 1, 2], [1, 2], [7, 2, 1.5, 2, 1.5, 2]];

/** The ends of the densities' axes: as far as any layer reaches. */
function reach(lines) {
  const low = Math.min(...lines.map((l) => l.low)), high = Math.max(...lines.map((l) => l.high));
  return low < high ? [low, high] : [low - 1, high + 1];
}

function ends(values, least = 0) {
  const all = values.filter(Number.isFinite);
  if (!all.length) return [0, 1];
  const [low, high] = [Math.min(...all), Math.max(...all)], room = Math.max(0.06 * (high - low), least, 1e-9);
  return [low - room, high + room];
}

function drawLoss(g, data, box) {
  const { steps } = data.loss, [mean, low, high] = ["mean", "low", "high"].map((k) => data.loss[k].map((v) => v ?? NaN)), total = Math.max(1, data.step);
  const log = data.loss.log, f = log ? Math.log10 : (v) => v, [a, b] = ends([...low, ...high].map(f), log ? 0.02 : 0);
  const names = log ? { ynames: [0, 0.25, 0.5, 0.75, 1].map((t) => fmt(10 ** (a + t * (b - a)), 2)), yticks: [0, 0.25, 0.5, 0.75, 1].map((t) => a + t * (b - a)) } : {};
  const loss = axes(g, box, { xlim: [0, total], ylim: [a, b], xlabel: "step", ylabel: log ? "loss (log)" : "loss", title: steps.length ? `loss: ${data.loss.last}` : "loss", ...names });
  loss.inside(() => {
    g.ctx.fillStyle = g.cats[0] + "33";
    steps.forEach((s, i) => { if (i) g.ctx.fillRect(loss.X(steps[i - 1]), loss.Y(f(high[i])), loss.X(s) - loss.X(steps[i - 1]), Math.max(1, loss.Y(f(low[i])) - loss.Y(f(high[i])))); });
  });
  loss.line(steps, mean.map(f), g.cats[0], { width: 1.6 });
  if (!steps.length) text(g, data.missing.loss, box.x + box.w / 2, box.y + box.h / 2, { align: "center", colour: g.muted });
}

export function draw(el, data) {
  const x = explorable(el, "The network while it trains");
  x.figure(() => (data.outputs ? 484 : 280), (g) => {
    const w = (g.w - 52 - 168 - 62) / 2, h = 160, left = [52, 52 + w + 62], top = [22, 276], beside = left[1] + w + 12;
    const at = (k) => ({ x: left[k % 2], y: top[Math.floor(k / 2)], w, h });
    const style = (i, n) => [depth(g, i, n), { dash: DASHES[i % 6], width: 1.5 }];
    const note = (k, words) => words.split("\n").forEach((line, i) => text(g, line, at(k).x + w / 2, at(k).y + h / 2 + 16 * i, { align: "center", colour: g.muted }));
    if (!data.outputs) { drawLoss(g, data, { x: 52, y: 24, w: g.w - 70, h: 212 }); return; }
    [["outputs", "output"], ["gradients", "gradient of the loss"]].forEach(([what, xlabel], k) => {
      const lines = data[what], title = `${what} of the layers`;
      if (!lines.length) { axes(g, at(k), { xlim: [0, 1], ylim: [0, 1], xticks: [], yticks: [], title }); note(k, data.missing[what]); return; }
      const tops = lines.map((l) => Math.max(...l.density)).sort((a, b) => a - b);
      const high = 1.05 * Math.min(tops.at(-1), 4 * tops[tops.length >> 1]) || 1;
      const ax = axes(g, at(k), { xlim: reach(lines), ylim: [0, high], xlabel, ylabel: k ? "" : "density", title, ...(k ? { yticks: [] } : {}) });
      lines.forEach((l, i) => {
        const bins = l.density.length, width = (l.to - l.from) / bins;
        ax.line(l.density.map((_, b) => l.from + (b + 0.5) * width), l.density, ...style(i, lines.length));
      });
    });
    const legend = (names, y) => names.forEach((name, i) => {
      const [colour, { dash }] = style(i, names.length);
      g.ctx.strokeStyle = colour; g.ctx.lineWidth = 2; g.ctx.setLineDash(dash);
      g.ctx.beginPath(); g.ctx.moveTo(beside, y + 15 * i); g.ctx.lineTo(beside + 22, y + 15 * i); g.ctx.stroke();
      text(g, name.length > 24 ? `${name.slice(0, 23)}…` : name, beside + 28, y + 15 * i, { size: 11 });
    });
    legend((data.outputs.length ? data.outputs : data.gradients).map((l) => l.name), 28);

    drawLoss(g, data, at(2));

    const ratios = data.updates;
    const up = axes(g, at(3), { xlim: [0, Math.max(1, data.step)], ylim: ends([-3, ...ratios.flatMap((r) => r.values)], 0.2), xlabel: "step", title: "log₁₀ of update : data (about −3 is healthy)" });
    up.level(-3, g.ink, [6, 4]);
    ratios.forEach((r, i) => up.line(data.updateSteps, r.values.map((v) => v ?? NaN), ...style(i, ratios.length)));
    legend(ratios.map((r) => r.name), 282);
    if (!ratios.length) note(3, data.missing.updates);
  });
  x.words(() => data.words);
  const clean = x.start({ reset: false });
  return Object.assign(clean, { update(fresh) { data = fresh; x.update(); } });
}

export default widget(draw);
