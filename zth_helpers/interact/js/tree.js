// Lesson 6's tree over a name: what each node has seen, what neighbours share, and what comes next.
import { explorable, fixed, matmul, percent, shade, softmax, text, unpack, widget } from "./kit.js";

/** The layers that Python sent, as functions of {values, rows, cols}: one window at a time, in evaluation mode. */
export function network(layers) {
  const steps = layers.map((layer) => {
    const a = Object.fromEntries(Object.entries(layer).map(([k, v]) => [k, v?.data ? unpack(v) : v]));
    if (layer.kind === "linear") return ({ values, rows, cols }) => ({ values: matmul(values, a.weight, rows, cols, a.weight.shape[1], a.bias ?? null), rows, cols: a.weight.shape[1] });
    if (layer.kind === "affine") return ({ values, rows, cols }) => ({ values: values.map((v, i) => v * a.scale[i % cols] + a.shift[i % cols]), rows, cols });
    if (layer.kind === "join") return ({ values, rows, cols }) => ({ values, rows: rows / a.n, cols: cols * a.n });
    if (layer.kind === "tanh") return ({ values, rows, cols }) => ({ values: values.map(Math.tanh), rows, cols });
    throw new Error(`no layer ${layer.kind}`);
  });
  return (embedding, context) => {
    const D = embedding.shape[1];
    let x = { values: Float64Array.from(context.flatMap((i) => Array.from(embedding.subarray(i * D, (i + 1) * D)))), rows: context.length, cols: D };
    for (const step of steps) x = step(x);
    return Array.from(x.values);
  };
}

/** The logits after one context. */
export const logitsOf = (layers, embedding, context) => network(layers)(embedding, context);

/** The nodes over the windows of all positions, level by level of `joins`: `all` counts them, `distinct` lists each once. */
export function nodesOf(positions, joins) {
  const seen = new Map(), block = joins.reduce((s, n) => s * n, 1);
  let all = 0;
  for (let p = 0; p < positions; p++)
    joins.reduce((part, n, i) => {
      const size = part * n;
      for (let first = p; first < p + block; first += size) {
        all++;
        const key = `${i + 1},${first}`;
        if (!seen.has(key)) seen.set(key, { level: i + 1, first, size, part, users: [] });
        seen.get(key).users.push(p);
      }
      return size;
    }, 1);
  return { all, distinct: [...seen.values()] };
}

export function wrongName(words, letters, longest) {
  const typed = words.trim().toLowerCase();
  if (!typed) return "The box is empty: type a name.";
  if (typed.includes(".")) return "A dot ends a name: type letters only.";
  if (typed.length > longest) return `${typed.length} characters are too many (at most ${longest}).`;
  const unknown = [...new Set(typed)].filter((c) => !letters.includes(c));
  return unknown.length ? `Not in the vocabulary: ${unknown.join(" ")}. It has ${letters.slice(1).join("")}` : "";
}

export function draw(el, data) {
  const x = explorable(el, "The tree over a name");
  const { letters, block, start } = data, V = letters.length, LONGEST = 15, net = network(data.layers), E = unpack(data.embedding);
  const name = x.text("name", start, (w) => wrongName(w, letters, LONGEST), 150);
  const place = x.slider("position", { min: 0, max: start.length, step: 1, value: Math.min(4, start.length) });
  const all = x.check("all positions: a convolution computes each node once");
  const spelt = () => name.value.trim().toLowerCase();
  let P = [], of = "", hover = null, nodes = null;
  const look = () => {
    if (of === spelt()) return;
    of = spelt();
    const padded = ".".repeat(block) + of;
    P = Array.from({ length: of.length + 1 }, (_, p) => softmax(net(E, Array.from(padded.slice(p, p + block), (c) => letters.indexOf(c)))));
    nodes = nodesOf(of.length + 1, data.joins);
    hover = null;
    place.bounds(0, of.length);
  };
  name.onchange = look;
  x.onReset(look);
  look();

  let spots = [], board;
  x.figure(420, (g) => {
    look();
    const { ctx } = g, padded = ".".repeat(block) + of, p = place.value, n = padded.length, step = Math.min(36, (g.w - 150) / n), levels = data.joins.length;
    const X = (i) => 90 + (i + 0.5) * step, Y = (level) => 158 - level * (136 / levels);
    const inTree = (node) => node.users.includes(p);
    const under = (node, top) => top && node.first >= top.first && node.first + node.size <= top.first + top.size && (node.first - top.first) % node.size === 0;
    spots = [];
    for (let level = 0; level <= levels; level++) text(g, level ? `${data.joins.slice(0, level).reduce((s, m) => s * m, 1)} letters` : "letters", 82, Y(level), { align: "right", size: 11, colour: g.muted });
    const shown = nodes.distinct.filter((node) => all.value || inTree(node));
    ctx.setLineDash([]);
    for (const node of shown) {
      const cx = X(node.first + (node.size - 1) / 2), on = hover ? under(node, hover) : inTree(node);
      for (let first = node.first; first < node.first + node.size; first += node.part) {
        const below = X(first + (node.part - 1) / 2);
        ctx.strokeStyle = on ? g.cats[0] : g.line; ctx.lineWidth = on ? 1.8 : 0.8;
        ctx.beginPath(); ctx.moveTo(cx, Y(node.level)); ctx.lineTo(below, Y(node.level - 1) - (node.level === 1 ? 9 : 0)); ctx.stroke();
      }
    }
    for (const node of shown) {
      const cx = X(node.first + (node.size - 1) / 2), on = hover ? under(node, hover) : inTree(node), mine = inTree(node);
      const is = hover && node.level === hover.level && node.first === hover.first;
      ctx.fillStyle = is ? g.cats[3] : on ? g.soft : g.paper; ctx.strokeStyle = on || mine ? g.cats[0] : g.muted; ctx.lineWidth = is ? 2.5 : 1.2;
      ctx.beginPath(); ctx.arc(cx, Y(node.level), Math.min(9, step * 0.42), 0, 7); ctx.fill(); ctx.stroke();
      spots.push({ node, x: cx, y: Y(node.level) });
    }
    for (let i = 0; i < n; i++) {
      const inside = i >= p && i < p + block, lit = hover && i >= hover.first && i < hover.first + hover.size;
      if (lit) { ctx.fillStyle = g.cats[3]; ctx.fillRect(X(i) - step / 2 + 1, 147, step - 2, 22); }
      text(g, padded[i], X(i), Y(0), { size: 16, align: "center", mono: true, bold: inside, colour: lit ? "#16191d" : inside ? g.ink : g.muted });
    }
    ctx.strokeStyle = g.ink; ctx.lineWidth = 1.2; ctx.strokeRect(X(p) - step / 2, 145, block * step, 26);
    if (p < of.length) { ctx.strokeStyle = g.cats[1]; ctx.beginPath(); ctx.arc(X(p + block), 158, 12, 0, 7); ctx.stroke(); }

    const top = 206, rows = of.length + 1, h = Math.min(22, 192 / rows), left = 90, w = (g.w - left - 12) / V;
    board = { top, h, rows, left };
    text(g, "what the network expects at each position (ring: what really comes)", left, 184, { bold: true });
    for (let j = 0; j < V; j++) text(g, letters[j], left + (j + 0.5) * w, top - 7, { size: 11, align: "center", mono: true });
    P.forEach((row, r) => {
      text(g, `${r}: ${padded.slice(r, r + block).slice(-5)}`, left - 6, top + (r + 0.5) * h, { size: 11, align: "right", mono: true, bold: r === p });
      row.forEach((v, j) => { ctx.fillStyle = shade(g, Math.sqrt(v)); ctx.fillRect(left + j * w, top + r * h, w + 0.4, h + 0.4); });
      const real = r < of.length ? letters.indexOf(of[r]) : 0;
      ctx.strokeStyle = g.cats[1]; ctx.lineWidth = 1.8; ctx.beginPath(); ctx.ellipse(left + (real + 0.5) * w, top + (r + 0.5) * h, Math.min(w, h) * 0.46, h * 0.46, 0, 0, 7); ctx.stroke();
    });
    ctx.strokeStyle = g.cats[3]; ctx.lineWidth = 2; ctx.strokeRect(left, top + p * h, w * V, h);
  }, {
    cursor: "pointer",
    label: "The tree: point at a node, click a row to go to a position. Left and right arrow keys change the position, up and down go through the nodes",
    pointer(kind, px, py) {
      if (kind === "leave") { hover = null; return; }
      const near = spots.reduce((best, s) => (Math.hypot(s.x - px, s.y - py) < Math.hypot((best?.x ?? 1e9) - px, (best?.y ?? 1e9) - py) ? s : best), null);
      hover = near && Math.hypot(near.x - px, near.y - py) < 14 ? near.node : null;
      const row = Math.floor((py - board.top) / board.h);
      if ((kind === "down" || kind === "move") && py > board.top && row < board.rows) place.set(row);
    },
    keys(key) {
      const side = { ArrowLeft: -1, ArrowRight: 1 }[key], turn = { ArrowUp: 1, ArrowDown: -1 }[key];
      if (side) { place.set(Math.max(0, Math.min(of.length, place.value + side))); hover = null; }
      if (turn && spots.length) {
        const i = spots.findIndex((s) => s.node === hover);
        hover = spots[(i + turn + spots.length) % spots.length].node;
      }
      return Boolean(side || turn);
    },
  });
  x.words(() => {
    const p = place.value, row = P[p], best = row.indexOf(Math.max(...row)), real = p < of.length ? of[p] : ".", padded = ".".repeat(block) + of;
    if (hover) {
      const users = hover.users, list = users.length === 1 ? `position ${users[0]} alone` : `positions ${users.join(", ")}`;
      return `This node has seen the ${hover.size} characters “${padded.slice(hover.first, hover.first + hover.size)}”. It is in the tree of ${list}` +
        (users.length > 1 ? `: a loop over the positions computes it ${users.length} times, a convolution once.` : ".");
    }
    return `Position ${p}: after “${padded.slice(p, p + block)}” the network expects “${letters[best]}” most (${percent(row[best])}); “${real}” comes, with ${percent(row[letters.indexOf(real)])}. ` +
      `One tree for each of the ${P.length} positions makes ${nodes.all} nodes; ${nodes.distinct.length} of them are different, and a convolution computes only those (${fixed(nodes.all / nodes.distinct.length, 1)} times fewer).`;
  });
  return x.start();
}

export default widget(draw);
