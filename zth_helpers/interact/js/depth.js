// Lesson 4's untrained network: what gain, activation and batch norm do to the scale through depth, both ways.
import { axes, depth, explorable, fixed, fmt, matmul, percent, randomFrom, text, widget } from "./kit.js";

const KINDS = {
  tanh: { f: Math.tanh, slope: (a, o) => 1 - o * o, flat: (o) => Math.abs(o) > 0.97, gain: 5 / 3 },
  relu: { f: (a) => (a > 0 ? a : 0), slope: (a) => (a > 0 ? 1 : 0), flat: (o) => o === 0, gain: Math.SQRT2 },
  linear: { f: (a) => a, slope: () => 1, flat: () => false, gain: 1 },
};
export const EPS = 1e-5;

/** Batch norm of (n, m) over its rows, biased variance; keeps what backward needs. */
function norm(A, n, m) {
  const out = new Float64Array(n * m), inverse = new Float64Array(m);
  for (let j = 0; j < m; j++) {
    let mean = 0, square = 0;
    for (let i = 0; i < n; i++) mean += A[i * m + j] / n;
    for (let i = 0; i < n; i++) square += (A[i * m + j] - mean) ** 2 / n;
    inverse[j] = 1 / Math.sqrt(square + EPS);
    for (let i = 0; i < n; i++) out[i * m + j] = (A[i * m + j] - mean) * inverse[j];
  }
  return { out, inverse };
}

function normBackward(d, { out, inverse }, n, m) {
  const back = new Float64Array(n * m);
  for (let j = 0; j < m; j++) {
    let a = 0, b = 0;
    for (let i = 0; i < n; i++) { a += d[i * m + j] / n; b += (d[i * m + j] * out[i * m + j]) / n; }
    for (let i = 0; i < n; i++) back[i * m + j] = inverse[j] * (d[i * m + j] - a - out[i * m + j] * b);
  }
  return back;
}

/**
 * One pass forward and back. inputs (n, k0); weights: standard normal [(k, m), …], the last one into classes;
 * hidden weights are scaled by gain/√fan_in, the last by outputScale/√fan_in (with batch norm: its gamma).
 * Gives the loss and, for each hidden layer, its outputs and the gradients of the mean loss by them.
 */
export function pass({ inputs, n, sizes, weights, targets, gain, outputScale, kind, batchnorm }) {
  const { f, slope } = KINDS[kind], L = sizes.length - 1, layers = [];
  let x = inputs;
  for (let l = 0; l < L; l++) {
    const [k, m] = [sizes[l], sizes[l + 1]], last = l === L - 1;
    const scale = (last ? (batchnorm ? 1 : outputScale) : gain) / Math.sqrt(k), W = weights[l].map((w) => w * scale);
    let a = matmul(x, W, n, k, m), normed = null;
    if (batchnorm) { normed = norm(a, n, m); a = normed.out; }
    if (last && batchnorm) a = a.map((v) => v * outputScale);
    const out = last ? a : a.map(f);
    layers.push({ W, a, out, normed, k, m });
    x = out;
  }
  const V = sizes[L];
  let loss = 0, d = new Float64Array(n * V);
  for (let i = 0; i < n; i++) {
    const z = x.subarray(i * V, (i + 1) * V), top = Math.max(...z);
    let sum = 0;
    for (const v of z) sum += Math.exp(v - top);
    loss += (top + Math.log(sum) - z[targets[i]]) / n;
    for (let j = 0; j < V; j++) d[i * V + j] = (Math.exp(z[j] - top) / sum - (j === targets[i] ? 1 : 0)) / n;
  }
  for (let l = L - 1; l >= 0; l--) {
    const { W, a, out, normed, k, m } = layers[l];
    layers[l].grad = d;
    if (l < L - 1) d = d.map((v, i) => v * slope(a[i], out[i]));
    else if (batchnorm) d = d.map((v) => v * outputScale);
    if (normed) d = normBackward(d, normed, n, m);
    const below = new Float64Array(n * k);
    if (l > 0)
      for (let i = 0; i < n; i++)
        for (let q = 0; q < k; q++) {
          let sum = 0;
          for (let j = 0; j < m; j++) sum += d[i * m + j] * W[q * m + j];
          below[i * k + q] = sum;
        }
    d = below;
  }
  return { loss, layers: layers.slice(0, -1).map(({ out, grad }) => ({ out, grad })) };
}

/** Standard deviation over n - 1, and the share of outputs in the flat part. */
export function statistics(values, kind = "tanh") {
  const n = values.length, { flat } = KINDS[kind];
  let mean = 0, square = 0, count = 0;
  for (const v of values) { mean += v / n; count += flat(v) ? 1 : 0; }
  for (const v of values) square += (v - mean) ** 2 / (n - 1);
  return { mean, std: Math.sqrt(square), flat: count / n };
}

export function histogram(values, low, high, bins) {
  const counts = new Float64Array(bins), width = (high - low) / bins;
  for (const v of values) { const b = Math.floor((v - low) / width); if (b >= 0 && b < bins) counts[b] += 1 / (values.length * width); }
  return counts;
}

/** A pass with the statistics of each layer. */
export function passOf(setting) {
  const done = pass(setting);
  for (const layer of done.layers) Object.assign(layer, { of: statistics(layer.out, setting.kind), back: statistics(layer.grad, "linear") });
  return done;
}

/** n standard normal numbers of a seed. */
export function normals(seed, n) {
  const random = randomFrom(seed);
  return Float64Array.from({ length: n }, random.normal);
}

export function draw(el, { contexts, targets, classes, embedding, width, hidden }) {
  const x = explorable(el, "Scale through depth: forward and backward");
  const kind = x.choice("activation", Object.keys(KINDS));
  const gain = x.slider("gain", { min: 0.1, max: 5, step: 0.05, value: 1.65, show: (v) => fixed(v) });
  const outputScale = x.slider("scale of the output layer", { min: 0, max: 2, step: 0.05, value: 0.1, show: (v) => fixed(v) });
  const batchnorm = x.check("batch norm");
  x.button("its own gain", () => gain.set(KINDS[kind.value].gain));
  let seed, net;
  const again = () => {
    const random = randomFrom(seed), block = contexts[0].length, sizes = [block * embedding, ...new Array(hidden).fill(width), classes];
    const C = Float64Array.from({ length: classes * embedding }, random.normal), n = contexts.length;
    const inputs = Float64Array.from(contexts.flatMap((c) => c.flatMap((i) => Array.from(C.subarray(i * embedding, (i + 1) * embedding)))));
    net = { inputs, n, sizes, targets, weights: sizes.slice(1).map((m, l) => Float64Array.from({ length: m * sizes[l] }, random.normal)) };
  };
  x.button("draw again", () => { seed++; again(); });
  x.onReset(() => { seed = 1; again(); });
  seed = 1; again();
  let done = null, key = "";
  const now = () => {
    const setting = { gain: gain.value, outputScale: outputScale.value, kind: kind.value, batchnorm: batchnorm.value };
    const wanted = JSON.stringify([setting, seed]);
    if (wanted !== key)
      [done, key] = [passOf({ ...net, ...setting }), wanted];
    return done;
  };

  const log = (v) => Math.max(-9.5, Math.min(3, Math.log10(v || 1e-12)));
  x.figure(322, (g) => {
    const { layers } = now(), D = layers.length, w = (g.w - 3 * 62) / 3, top = 26, h = 178;
    const dashes = [[], [7, 3], [4, 2], [2, 2], [8, 3, 2, 3]];
    const high = kind.value === "tanh" ? 1 : 4;
    const hist = axes(g, { x: 52, y: top, w: w + 30, h }, { xlim: [-high, high], ylim: [0, 3], xlabel: "output of a layer", ylabel: "density", title: "forward: what the layers put out" });
    layers.forEach(({ out }, i) => {
      const bins = 48, counts = histogram(out, -high - 1e-9, high + 1e-9, bins);
      hist.line(Array.from(counts, (_, b) => -high + ((b + 0.5) * 2 * high) / bins), counts, depth(g, i, D), { dash: dashes[i % 5], width: 1.8 });
    });
    const left = [52 + w + 30 + 62, 52 + 2 * w + 22 + 2 * 62];
    const numbers = { xlim: [0.5, D + 0.5], xticks: layers.map((_, i) => i + 1), xlabel: "layer" };
    const std = axes(g, { x: left[0], y: top, w: w - 8, h }, { ...numbers, ylim: [-3, 2], yticks: [-3, -2, -1, 0, 1, 2], ynames: ["0.001", "0.01", "0.1", "1", "10", "100"], title: "std of the outputs" });
    const grad = axes(g, { x: left[1], y: top, w: w - 20, h }, { ...numbers, ylim: [-7, 1], yticks: [-7, -5, -3, -1, 1], ynames: ["1e−7", "1e−5", "0.001", "0.1", "10"], title: "backward: std of gradients" });
    for (const [ax, what] of [[std, "of"], [grad, "back"]]) {
      const vs = layers.map((l) => log(l[what].std)), us = vs.map((_, i) => i + 1);
      ax.line(us, vs, g.muted);
      us.forEach((u, i) => ax.inside(() => { g.ctx.fillStyle = depth(g, i, D); g.ctx.beginPath(); g.ctx.arc(ax.X(u), ax.Y(vs[i]), 5, 0, 7); g.ctx.fill(); }));
    }
    text(g, kind.value === "relu" ? "zero" : "saturated", 52, 264, { bold: true });
    layers.forEach(({ of }, i) => {
      const at = 52 + 92 + i * ((g.w - 160) / D);
      g.ctx.strokeStyle = depth(g, i, D); g.ctx.lineWidth = 3; g.ctx.setLineDash(dashes[i % 5]);
      g.ctx.beginPath(); g.ctx.moveTo(at, 264); g.ctx.lineTo(at + 26, 264); g.ctx.stroke();
      text(g, `layer ${i + 1}: ${kind.value === "linear" ? "–" : percent(of.flat)}`, at + 32, 264);
      g.ctx.fillStyle = g.line; g.ctx.fillRect(at, 276, 110, 8);
      g.ctx.fillStyle = depth(g, i, D); g.ctx.fillRect(at, 276, 110 * of.flat, 8);
    });
    text(g, "std", 52, 304, { bold: true });
    layers.forEach(({ of }, i) => text(g, fmt(of.std), 52 + 92 + i * ((g.w - 160) / D), 304));
  });
  x.words(() => {
    const { loss, layers } = now(), [first, last] = [layers[0], layers.at(-1)], sure = Math.log(classes);
    const way = last.of.std < 0.5 * first.of.std ? "fades" : last.of.std > 2 * first.of.std ? "grows" : "keeps its scale";
    const up = first.back.std / last.back.std;
    const back = !Number.isFinite(up) ? "nothing comes back, because the output layer is 0" : up < 0.5 ? `fades (to ${fixed(up)} of it)` : up > 2 ? `grows (${fixed(up, 1)} times)` : "keeps its scale";
    return `First loss ${fixed(loss)}, expected ln ${classes} = ${fixed(sure)}${loss > sure + 0.5 ? ": too sure of itself" : ""}. Forward the signal ${way}: std ${fmt(first.of.std)} in layer 1, ${fmt(last.of.std)} in layer ${layers.length}. ` +
      `On the way back the gradient ${back}: std ${fmt(last.back.std)} at layer ${layers.length}, ${fmt(first.back.std)} at layer 1.`;
  });
  return x.start();
}

export default widget(draw);
