// Lesson 1's two moons, trained in the page: the same network, loss and steps as the lesson's.
import { axes, diverging, explorable, fixed, mark, percent, randomFrom, shade, text, widget } from "./kit.js";

/** Scores of n points (n, 2) by relu layers with a linear last one; keeps each layer's outputs for backward. */
export function forward(parameters, sizes, X) {
  const outs = [X];
  let at = 0;
  for (let l = 1; l < sizes.length; l++) {
    const [nin, nout] = [sizes[l - 1], sizes[l]];
    outs.push(outs[l - 1].map((x) => {
      const out = new Array(nout);
      for (let j = 0; j < nout; j++) {
        const w = at + j * (nin + 1);
        let sum = parameters[w + nin];
        for (let i = 0; i < nin; i++) sum += parameters[w + i] * x[i];
        out[j] = l < sizes.length - 1 && sum < 0 ? 0 : sum;
      }
      return out;
    }));
    at += nout * (nin + 1);
  }
  return outs;
}

/** The lesson's loss, mean of max(0, 1 - y·score) plus alpha times the squared parameters, and its gradient. */
export function lossAndGradient(parameters, sizes, X, y, alpha = 1e-4) {
  const outs = forward(parameters, sizes, X), n = X.length, L = sizes.length - 1;
  const scores = outs[L].map((o) => o[0]);
  let loss = 0, right = 0;
  let grad = scores.map((s, i) => {
    loss += Math.max(0, 1 - y[i] * s) / n;
    right += Math.sign(s) === y[i] ? 1 / n : 0;
    return [1 - y[i] * s > 0 ? -y[i] / n : 0];
  });
  const gradient = parameters.map((p) => { loss += alpha * p * p; return 2 * alpha * p; });
  let end = parameters.length;
  for (let l = L; l > 0; l--) {
    const [nin, nout] = [sizes[l - 1], sizes[l]], start = end - nout * (nin + 1);
    const below = X.map(() => new Array(nin).fill(0));
    for (let e = 0; e < n; e++) {
      for (let j = 0; j < nout; j++) {
        const d = l < L && outs[l][e][j] <= 0 ? 0 : grad[e][j];
        if (d === 0) continue;
        const w = start + j * (nin + 1);
        for (let i = 0; i < nin; i++) {
          gradient[w + i] += d * outs[l - 1][e][i];
          below[e][i] += d * parameters[w + i];
        }
        gradient[w + nin] += d;
      }
    }
    [grad, end] = [below, start];
  }
  return { loss, right, gradient, scores };
}

/** The rate of step k, as in the lesson: from `first` down to a tenth of it at step 100, and then no more. */
export const rateAt = (first, k) => first * (1 - 0.9 * Math.min(k, 100) / 100);

export function newNetwork(sizes, random) {
  const p = [];
  for (let l = 1; l < sizes.length; l++)
    for (let j = 0; j < sizes[l]; j++) {
      for (let i = 0; i < sizes[l - 1]; i++) p.push(2 * random() - 1);
      p.push(0);
    }
  return p;
}

export function newMoons(n, noise, random) {
  const X = [], y = [];
  for (let i = 0; i < n; i++) {
    const t = (Math.PI * Math.floor(i / 2)) / (n / 2 - 1), upper = i % 2 === 0;
    const [a, b] = upper ? [Math.cos(t), Math.sin(t)] : [1 - Math.cos(t), 0.5 - Math.sin(t)];
    X.push([a + noise * random.normal(), b + noise * random.normal()]);
    y.push(upper ? -1 : 1);
  }
  return [X, y];
}

export function draw(el, data) {
  const x = explorable(el, "Two moons: train a network in the page");
  const play = x.button("train", () => go(!running));
  const one = () => { go(false); step(); };
  x.button("step", one);
  const neurons = x.slider("neurons a layer", { min: 2, max: 24, step: 1, value: data.sizes[1] });
  const layers = x.slider("hidden layers", { min: 1, max: 3, step: 1, value: data.sizes.length - 2 });
  const rate = x.slider("first rate", { list: [0.01, 0.03, 0.1, 0.3, 0.5, 1, 2, 3, 5], value: 1 });
  const noise = x.slider("noise of new points", { min: 0, max: 0.4, step: 0.02, value: 0.1 });
  let X, y, sizes, p, k, history, running = false, now, seed;

  const again = (parameters = null) => {
    sizes = [2, ...new Array(layers.value).fill(neurons.value), 1];
    p = parameters ? [...parameters] : newNetwork(sizes, randomFrom(++seed));
    [k, history] = [0, []];
    now = lossAndGradient(p, sizes, X, y, data.alpha);
  };
  const step = () => {
    history.push([now.loss, now.right]);
    const lr = rateAt(rate.value, k++);
    p = p.map((v, i) => v - lr * now.gradient[i]);
    now = lossAndGradient(p, sizes, X, y, data.alpha);
    if (!Number.isFinite(now.loss)) go(false);
  };
  function go(on) {
    if (on === running) return;
    running = on;
    play.textContent = on ? "pause" : "train";
    play.setAttribute("aria-pressed", String(on));
    let owed = 0;
    if (on) x.animate((ms) => {
      owed = Math.min(3, owed + ms / 60); // about 16 steps a second, so that one can watch
      for (; owed >= 1 && running; owed--) step();
      if (k >= 1000) go(false);
      return running;
    });
  }
  neurons.onchange = layers.onchange = () => again();
  noise.onchange = () => { [X, y] = newMoons(data.y.length, noise.value, randomFrom(++seed)); again(p.length ? p : null); };
  x.button("new network", () => again());
  x.button("new points", () => { [X, y] = newMoons(data.y.length, noise.value, randomFrom(++seed)); now = lossAndGradient(p, sizes, X, y, data.alpha); });
  const first = () => { go(false); [X, y, seed] = [data.X, data.y, 1]; again(data.parameters); };
  x.onReset(first);
  first();

  const GRID = 54, limits = { x: [-1.9, 2.9], y: [-1.35, 1.85] };
  x.figure(350, (g) => {
    const h = 290, w = Math.min(h * 1.5, g.w * 0.58), box = { x: 50, y: 24, w, h };
    const ax = axes(g, box, { xlim: limits.x, ylim: limits.y, xlabel: "x₁", ylabel: "x₂", title: `step ${k}: loss ${fixed(now.loss, 4)}, ${percent(now.right)} right` });
    const nx = GRID, ny = Math.round((GRID * h) / w), cell = [w / nx, h / ny], points = [];
    for (let j = 0; j < ny; j++) for (let i = 0; i < nx; i++) points.push(ax.back(box.x + (i + 0.5) * cell[0], box.y + (j + 0.5) * cell[1]));
    const score = forward(p, sizes, points).at(-1);
    const tone = (s) => Math.sign(s) * (0.12 + 0.02 * Math.round(15 * Math.min(1, Math.abs(s) / 2)));
    for (let j = 0; j < ny; j++)
      for (let i = 0, end; i < nx; i = end) { // neighbours of one tone are one rectangle: most of them are
        const v = tone(score[j * nx + i][0]);
        for (end = i + 1; end < nx && tone(score[j * nx + end][0]) === v;) end++;
        g.ctx.fillStyle = diverging(g, v);
        g.ctx.fillRect(box.x + i * cell[0], box.y + j * cell[1], (end - i) * cell[0] + 0.6, cell[1] + 0.6);
      }
    contour(g, box, score, nx, ny, cell);
    X.forEach(([a, b], i) => {
      const wrong = Math.sign(now.scores[i]) !== y[i];
      mark(g, y[i] < 0 ? 0 : 1, ax.X(a), ax.Y(b), wrong ? 5.5 : 4, g.cats[y[i] < 0 ? 0 : 1], wrong ? g.ink : g.paper);
      if (wrong) mark(g, 0, ax.X(a), ax.Y(b), 9, null, g.ink);
    });
    const left = box.x + w + 62, room = g.w - left - 10, last = Math.max(100, k);
    const curve = axes(g, { x: left, y: 24, w: room, h: 190 }, { xlim: [0, last], ylim: [0, 1.2], xlabel: "step", ylabel: "loss", title: "loss and share of right points" });
    const losses = [...history.map((v) => v[0]), now.loss], rights = [...history.map((v) => v[1]), now.right];
    const at = losses.map((_, i) => i);
    curve.line(at, losses, g.cats[0]);
    curve.line(at, rights, g.cats[3], { dash: [5, 3] });
    text(g, "— loss", left, 276, { colour: g.cats[0], bold: true });
    text(g, "- - share right", left + 60, 276, { colour: g.cats[3], bold: true });
    mark(g, 0, left + 5, 298, 4, g.cats[0]); text(g, "y = −1", left + 14, 298);
    mark(g, 1, left + 75, 298, 4, g.cats[1]); text(g, "y = +1", left + 84, 298);
    mark(g, 0, left + 145, 298, 8, null); text(g, "wrong", left + 158, 298);
  });
  x.words(() => (Number.isFinite(now.loss)
    ? `Step ${k}, rate ${fixed(rateAt(rate.value, k), 2)}: loss ${fixed(now.loss, 4)}, ${Math.round(now.right * y.length)} of ${y.length} points right. ` +
      `${p.length} parameters in ${layers.value} hidden layer${layers.value > 1 ? "s" : ""} of ${neurons.value}.`
    : `Step ${k}: the loss is no number any more. The rate is too large; reset, or start a new network with a smaller one.`));
  const clean = x.start();
  return () => { running = false; clean(); };
}

/** The line where the score is 0, by the edges of the grid between neighbours of different sign. */
function contour(g, box, score, nx, ny, cell) {
  const at = (i, j) => score[j * nx + i][0], { ctx } = g;
  ctx.strokeStyle = g.ink; ctx.lineWidth = 2; ctx.setLineDash([]);
  ctx.beginPath();
  for (let j = 0; j < ny - 1; j++)
    for (let i = 0; i < nx - 1; i++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], cuts = [];
      for (let c = 0; c < 4; c++) {
        const [a, b] = [corners[c], corners[(c + 1) % 4]], [u, v] = [at(...a), at(...b)];
        if (u > 0 !== v > 0) {
          const t = u / (u - v);
          cuts.push([box.x + (a[0] + 0.5 + t * (b[0] - a[0])) * cell[0], box.y + (a[1] + 0.5 + t * (b[1] - a[1])) * cell[1]]);
        }
      }
      for (let c = 0; c + 1 < cuts.length; c += 2) { ctx.moveTo(...cuts[c]); ctx.lineTo(...cuts[c + 1]); }
    }
  ctx.stroke();
}

export default widget(draw);
