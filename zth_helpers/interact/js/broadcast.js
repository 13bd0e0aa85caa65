// Broadcasting: what is repeated forward is summed backward.
import { explorable, fmt, text, widget } from "./kit.js";

/** The shape of a result by PyTorch's rule, or an error in words: aligned at the right, equal or 1. */
export function broadcastShape(a, b) {
  const n = Math.max(a.length, b.length), out = [];
  for (let i = 1; i <= n; i++) {
    const [p, q] = [a[a.length - i] ?? 1, b[b.length - i] ?? 1];
    if (p !== q && p !== 1 && q !== 1) return { error: `axis −${i}: ${p} against ${q}. Sizes must be equal, or one of them 1.` };
    out.unshift(p === 1 ? q : p);
  }
  return { shape: out };
}

const size = (shape) => shape.reduce((s, v) => s * v, 1);

/** For each element of the result, which element (flat index) of an input of `shape` it takes. */
export function sources(shape, result) {
  const index = [];
  for (let flat = 0; flat < size(result); flat++) {
    let rest = flat, at = 0, stride = 1;
    for (let i = 1; i <= result.length; i++) {
      const place = rest % result[result.length - i], mine = shape[shape.length - i] ?? 1;
      rest = Math.floor(rest / result[result.length - i]);
      if (mine !== 1) at += place * stride;
      stride *= mine;
    }
    index.push(at);
  }
  return index;
}

/** Forward a ∘ b, and the gradients of both when `grad` comes back to the result. */
export function forwardBackward(a, b, shapeA, shapeB, op, grad) {
  const { shape } = broadcastShape(shapeA, shapeB), [ia, ib] = [sources(shapeA, shape), sources(shapeB, shape)];
  const out = ia.map((i, k) => (op === "+" ? a[i] + b[ib[k]] : op === "−" ? a[i] - b[ib[k]] : a[i] * b[ib[k]]));
  const da = new Array(size(shapeA)).fill(0), db = new Array(size(shapeB)).fill(0);
  grad.forEach((g, k) => {
    da[ia[k]] += op === "×" ? g * b[ib[k]] : g;
    db[ib[k]] += op === "×" ? g * a[ia[k]] : op === "−" ? -g : g;
  });
  return { out, da, db };
}

export function parseShape(words) {
  const inside = words.trim().replace(/^[([]|[)\]]$/g, "").trim();
  if (!inside) return { shape: [] };
  const parts = inside.split(/[\s,×x]+/).filter(Boolean).map(Number);
  if (parts.some((v) => !Number.isInteger(v) || v < 1)) return { error: "A shape is whole numbers with commas, such as 3, 4" };
  if (parts.length > 3) return { error: "At most three axes can be drawn here." };
  if (parts.some((v) => v > 6)) return { error: "An axis of at most 6 can be drawn here." };
  return { shape: parts };
}

const written = (shape) => `(${shape.join(", ")}${shape.length === 1 ? "," : ""})`;

export function draw(el, { a: firstA, b: firstB }) {
  const x = explorable(el, "Broadcasting, forward and backward");
  let shapeA = firstA, shapeB = firstB;
  const wrong = (other, words) => {
    const { shape, error } = parseShape(words);
    return error ?? broadcastShape(shape, other()).error ?? "";
  };
  const A = x.text("shape of a", firstA.join(", "), (w) => parseShape(w).error ?? (broadcastShape(parseShape(w).shape, shapeB).error ? `a ${written(parseShape(w).shape)} and b ${written(shapeB)} do not go together: ${wrong(() => shapeB, w)}` : ""));
  const B = x.text("shape of b", firstB.join(", "), (w) => parseShape(w).error ?? (broadcastShape(shapeA, parseShape(w).shape).error ? `a ${written(shapeA)} and b ${written(parseShape(w).shape)} do not go together: ${wrong(() => shapeA, w)}` : ""));
  const op = x.choice("operation", ["+", "−", "×"]);
  const way = x.choice("show", ["forward: values", "backward: gradients"]);
  const shapes = ["3, 4 and 3, 1", "3, 4 and 4", "3, 1 and 1, 4", "3, 4 and 1", "2, 3, 4 and 3, 1"];
  const example = x.choice("examples", shapes, shapes[0]);
  let at = null, board = {};
  const take = () => { shapeA = parseShape(A.value).shape; shapeB = parseShape(B.value).shape; at = null; };
  A.onchange = B.onchange = take;
  example.onchange = () => { const [p, q] = example.value.split(" and "); A.set(p); B.set(q); take(); };
  x.onReset(take);
  const now = () => {
    const { shape } = broadcastShape(shapeA, shapeB);
    const a = Array.from({ length: size(shapeA) }, (_, i) => i + 1), b = Array.from({ length: size(shapeB) }, (_, i) => 10 * (i + 1));
    const grad = Array.from({ length: size(shape) }, (_, i) => (i % 3) + 1);
    return { a, b, shape, grad, ...forwardBackward(a, b, shapeA, shapeB, op.value, grad) };
  };

  x.figure(306, (g) => {
    const r = now(), back = way.value.startsWith("b"), { ctx } = g;
    const [ia, ib] = [sources(shapeA, r.shape), sources(shapeB, r.shape)];
    const third = (g.w - 80) / 3;
    board = {};
    const grid = (name, shape, values, left, title, lit, repeat) => {
      const [d, rows, cols] = [shape.at(-3) ?? 1, shape.at(-2) ?? 1, shape.at(-1) ?? 1];
      const full = r.shape, [D, R, K] = [full.at(-3) ?? 1, full.at(-2) ?? 1, full.at(-1) ?? 1];
      const cell = Math.min(46, third / K - 2, 210 / (D * R + (D - 1) * 0.4));
      text(g, title, left, 14, { bold: true });
      board[name] = { left, top: 40, cell, shape, values };
      // the copies that broadcasting makes stand there faintly, in the places of the result
      for (let k = 0; k < (repeat ? size(full) : values.length); k++) {
        const c = repeat ? k % K : k % cols, row = repeat ? Math.floor(k / K) % R : Math.floor(k / cols) % rows, dd = Math.floor(k / (repeat ? K * R : cols * rows));
        const i = repeat ? repeat[k] : k;
        const original = !repeat || ((cols > 1 || c === 0) && (rows > 1 || row === 0) && (d > 1 || dd === 0));
        const [px, py] = [left + c * (cell + 2), 40 + (dd * (R + 0.4) + row) * (cell + 2)];
        const on = lit(i, k);
        ctx.globalAlpha = original ? 1 : 0.45;
        ctx.fillStyle = on ? g.cats[3] : original ? g.soft : g.paper;
        ctx.strokeStyle = on ? g.ink : g.muted; ctx.lineWidth = 1; ctx.setLineDash(original ? [] : [3, 3]);
        ctx.fillRect(px, py, cell, cell); ctx.strokeRect(px + 0.5, py + 0.5, cell, cell);
        text(g, fmt(values[i]), px + cell / 2, py + cell / 2, { size: cell > 30 ? 13 : 10, align: "center", colour: on ? "#16191d" : g.ink });
        ctx.globalAlpha = 1;
      }
    };
    const left = [10, 10 + third + 30, 10 + 2 * third + 60];
    if (!back) {
      grid("a", shapeA, r.a, left[0], `a ${written(shapeA)}`, (i) => at && i === at.a, ia);
      grid("b", shapeB, r.b, left[1], `b ${written(shapeB)}`, (i) => at && i === at.b, ib);
      grid("out", r.shape, r.out, left[2], `a ${op.value} b ${written(r.shape)}`, (i) => at && (at.from === "out" ? i === at.k : at.from === "a" ? ia[i] === at.a : ib[i] === at.b), null);
    } else {
      grid("out", r.shape, r.grad, left[0], `gradient that comes back ${written(r.shape)}`, (i) => at && (at.from === "out" ? i === at.k : at.from === "a" ? ia[i] === at.a : ib[i] === at.b), null);
      grid("a", shapeA, r.da, left[1], `a.grad ${written(shapeA)}`, (i) => at && i === at.a, null);
      grid("b", shapeB, r.db, left[2], `b.grad ${written(shapeB)}`, (i) => at && i === at.b, null);
    }
    text(g, back ? "Each element's gradient is the sum over all places where it was used." : "Dashed: the same number, repeated without being copied.", 10, 290, { colour: g.muted });
  }, {
    label: "The tensors: point at an element, or go through the result with the arrow keys",
    pointer(kind, px, py) {
      if (kind === "leave") return;
      at = null;
      const r = now(), [ia, ib] = [sources(shapeA, r.shape), sources(shapeB, r.shape)], [R, K] = [r.shape.at(-2) ?? 1, r.shape.at(-1) ?? 1];
      for (const [name, { left, top, cell, shape }] of Object.entries(board)) {
        const repeated = name !== "out" && way.value.startsWith("f"), [rows, cols] = repeated ? [R, K] : [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
        const c = Math.floor((px - left) / (cell + 2)), line = (py - top) / (cell + 2), d = Math.floor(line / (R + 0.4)), row = Math.floor(line - d * (R + 0.4));
        if (c < 0 || c >= cols || line < 0 || row >= rows) continue;
        const k = (d * rows + row) * cols + c, many = repeated ? size(r.shape) : size(shape);
        if (k >= many) continue;
        if (name === "out") at = { from: "out", k, a: ia[k], b: ib[k] };
        else if (name === "a") at = { from: "a", a: repeated ? ia[k] : k };
        else at = { from: "b", b: repeated ? ib[k] : k };
      }
    },
    keys(key) {
      const r = now(), K = r.shape.at(-1) ?? 1, move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: K, ArrowUp: -K }[key];
      if (!move) return false;
      const n = size(r.shape), k = (((at?.k ?? -move) + move) % n + n) % n;
      at = { from: "out", k, a: sources(shapeA, r.shape)[k], b: sources(shapeB, r.shape)[k] };
      return true;
    },
  });
  x.words(() => {
    const r = now(), n = size(r.shape), [ta, tb] = [n / size(shapeA), n / size(shapeB)];
    const times = (name, t) => `${name} ${t === 1 ? "is used once" : `is repeated ${t} times`}`;
    let here = "";
    if (at) {
      const name = at.from === "b" ? "b" : "a", i = name === "a" ? at.a : at.b, t = name === "a" ? ta : tb;
      here = at.from === "out"
        ? ` This element is ${fmt(r.a[at.a])} ${op.value} ${fmt(r.b[at.b])} = ${fmt(r.out[at.k])}.`
        : ` This element of ${name} goes into ${t} element${t > 1 ? "s" : ""} of the result, so ${t > 1 ? `${t} gradients add up to` : "its gradient is"} ${fmt((name === "a" ? r.da : r.db)[i])}.`;
    }
    const sum = (name, t, shape) => (t === 1 ? "" : ` ${name}.grad sums ${t} gradients into each of its ${size(shape)} element${size(shape) > 1 ? "s" : ""}.`);
    return `${written(shapeA)} ${op.value} ${written(shapeB)} → ${written(r.shape)}: ${times("a", ta)}, ${times("b", tb)}.${sum("a", ta, shapeA)}${sum("b", tb, shapeB)}${here}`;
  });
  return x.start();
}

export default widget(draw);
