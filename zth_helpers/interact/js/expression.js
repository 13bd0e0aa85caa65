// An expression you can pull: type it, drag a leaf, run backward node by node, nudge a leaf to confirm its slope.
import { arrow, explorable, fixed, fmt, text, widget } from "./kit.js";

const OPERATIONS = {
  "+": { f: (a, b) => a + b, slopes: () => [1, 1] },
  "−": { f: (a, b) => a - b, slopes: () => [1, -1] },
  "*": { f: (a, b) => a * b, slopes: (a, b) => [b, a] },
  "/": { f: (a, b) => a / b, slopes: (a, b) => [1 / b, -a / (b * b)] },
  "**": { f: (a, b) => a ** b, slopes: (a, b) => [b * a ** (b - 1), a > 0 ? a ** b * Math.log(a) : 0] },
  neg: { f: (a) => -a, slopes: () => [-1] },
  tanh: { f: Math.tanh, slopes: (a) => [1 - Math.tanh(a) ** 2] },
  exp: { f: Math.exp, slopes: (a) => [Math.exp(a)] },
  log: { f: Math.log, slopes: (a) => [1 / a] },
  sin: { f: Math.sin, slopes: (a) => [Math.cos(a)] },
  relu: { f: (a) => (a > 0 ? a : 0), slopes: (a) => [a > 0 ? 1 : 0] },
};
const MOST = 24;

/** The graph of "n = x*w + b; o = tanh(n)": nodes in an order in which each stands after what it is made from. */
export function parse(words, values = {}) {
  const nodes = [], named = {};
  const node = (op, args, name) => { nodes.push({ op, args, name, data: 0, grad: 0 }); return nodes.length - 1; };
  const tokens = words.replace(/−/g, "-").replace(/·|×/g, "*").replace(/\^/g, "**").match(/\d+\.?\d*(?:e[-+]?\d+)?|[A-Za-z_]\w*|\*\*|[-+*/();=]|\S/g) ?? [];
  let at = 0;
  const fail = (why) => { throw new Error(why); };
  const next = (what) => (tokens[at] === what ? (at++, true) : false);
  const atom = () => {
    const token = tokens[at++];
    if (token === undefined) fail("The expression ends too early.");
    if (token === "(") { const inside = sum(); if (!next(")")) fail("A closing parenthesis is missing."); return inside; }
    if (/^\d/.test(token)) { const i = node(null, [], token); nodes[i].data = +token; nodes[i].constant = true; return i; }
    if (/^[A-Za-z_]/.test(token)) {
      if (token in OPERATIONS && token !== "neg") { if (!next("(")) fail(`Write ${token}(…).`); const inside = sum(); if (!next(")")) fail("A closing parenthesis is missing."); return node(token, [inside]); }
      if (next("(")) fail(`There is no function ${token}; there are tanh, exp, log, sin and relu.`);
      if (!(token in named)) { named[token] = node(null, [], token); nodes[named[token]].data = values[token] ?? 1; }
      return named[token];
    }
    return fail(`“${token}” was not expected there.`);
  };
  const power = () => { const base = atom(); return next("**") ? node("**", [base, sign()]) : base; };
  const sign = () => (next("-") ? node("neg", [sign()]) : power());
  const product = () => { let left = sign(); for (;;) { if (next("*")) left = node("*", [left, sign()]); else if (next("/")) left = node("/", [left, sign()]); else return left; } };
  const sum = () => { let left = product(); for (;;) { if (next("+")) left = node("+", [left, product()]); else if (next("-")) left = node("−", [left, product()]); else return left; } };
  let root = null;
  while (at < tokens.length) {
    const name = tokens[at + 1] === "=" ? tokens[at] : null;
    if (name) { if (!/^[A-Za-z_]\w*$/.test(name)) fail(`“${name}” is no name.`); if (name in named) fail(`“${name}” has a value already.`); at += 2; }
    root = sum();
    if (name) { named[name] = root; nodes[root].name ??= name; }
    if (at < tokens.length && !next(";")) fail(`“${tokens[at]}” was not expected there.`);
    if (nodes.length > MOST) fail(`That makes ${nodes.length} nodes; at most ${MOST} can be drawn here.`);
  }
  if (root === null) fail("The box is empty: type an expression, such as (a*b)*(a+b).");
  // only what the result is made from, children first
  const order = [], seen = new Set();
  const visit = (i) => { if (seen.has(i)) return; seen.add(i); nodes[i].args.forEach(visit); order.push(i); };
  visit(root);
  const place = new Map(order.map((i, k) => [i, k]));
  return order.map((i) => ({ ...nodes[i], args: nodes[i].args.map((j) => place.get(j)) }));
}

export function forward(nodes) {
  for (const v of nodes) if (v.op) v.data = OPERATIONS[v.op].f(...v.args.map((i) => nodes[i].data));
  return nodes.at(-1).data;
}

/** Runs backward for so many firings (all by default): what each fired node added where. */
export function backward(nodes, most = Infinity) {
  for (const v of nodes) v.grad = 0;
  nodes.at(-1).grad = 1;
  const fired = [];
  for (let k = nodes.length - 1; k >= 0 && fired.length < most; k--) {
    const v = nodes[k];
    if (!v.op) continue;
    const slopes = OPERATIONS[v.op].slopes(...v.args.map((i) => nodes[i].data));
    const added = v.args.map((i, q) => [i, slopes[q] * v.grad]);
    for (const [i, by] of added) nodes[i].grad += by;
    fired.push({ node: k, added });
  }
  return fired;
}

/** Forward and all of backward on a copy of the nodes. */
export function run(nodes) {
  const copy = nodes.map((v) => ({ ...v })), result = forward(copy), fired = backward(copy);
  return { result, fired, nodes: copy };
}

/** Columns by the longest way from an input, rows amid the children; an input stands right before its first use. */
function layout(nodes) {
  const col = nodes.map(() => 0), row = [], taken = {};
  nodes.forEach((v, i) => { col[i] = 1 + Math.max(-1, ...v.args.map((j) => col[j])); });
  nodes.forEach((v, i) => {
    const users = nodes.flatMap((u, k) => (u.args.includes(i) ? [col[k]] : []));
    if (!v.op && users.length) col[i] = Math.min(...users) - 1;
  });
  let free = 0;
  nodes.forEach((v, i) => {
    row[i] = v.args.length ? v.args.reduce((s, j) => s + row[j], 0) / v.args.length : free++;
    const others = (taken[col[i]] ??= []);
    while (others.some((r) => Math.abs(r - row[i]) < 0.95)) row[i] += 0.475;
    others.push(row[i]);
  });
  return { col, row, columns: Math.max(...col) + 1, rows: Math.max(...row) + 1 };
}

export function draw(el, { expressions }) {
  const x = explorable(el, "An expression you can pull");
  const byName = Object.fromEntries(expressions.map((e) => [e.name, e]));
  const chosen = x.choice("example", expressions.map((e) => e.name));
  let values = { ...expressions[0].values }, nodes, at = 0;
  const wrong = (words) => { try { parse(words, values); return ""; } catch (error) { return error.message; } };
  const words = x.text("expression", expressions[0].text, wrong, 300);
  const leaf = x.choice("leaf", ["–"]);
  const value = x.slider("its value", { min: -10, max: 10, step: 0.01, value: 0, show: (v) => fixed(v) });
  const step = x.slider("backward step", { min: 0, max: 1, step: 1, value: 0 });
  const nudge = x.slider("nudge h", { list: [1, 0.1, 0.01, 0.001, 0.0001], value: 0.001 });
  const leaves = () => nodes.flatMap((v, i) => (!v.op && !v.constant ? [i] : []));
  const named = (i) => nodes[i].name ?? `${nodes[i].op} …`;
  const pick = (i) => { at = i; leaf.set(named(i)); value.set(nodes[i].data); };
  const build = () => {
    nodes = parse(words.value, values);
    leaf.input.replaceChildren(...leaves().map((i) => Object.assign(document.createElement("option"), { value: named(i), textContent: named(i) })));
    step.bounds(0, nodes.filter((v) => v.op).length);
    if (leaves().length) pick(leaves()[0]);
  };
  const load = (e) => { values = { ...e.values }; words.set(e.text); build(); step.set(0); };
  words.onchange = build;
  chosen.onchange = () => load(byName[chosen.value]);
  leaf.onchange = () => pick(leaves().find((i) => named(i) === leaf.value));
  const move = (v) => { nodes[at].data = values[named(at)] = v; };
  value.onchange = () => { if (leaves().length) move(value.value); };
  x.button("next step", () => step.set(Math.min(step.value + 1, +step.input.max)));
  x.button("all of backward", () => step.set(+step.input.max));
  x.onReset(() => load(expressions[0]));
  load(expressions[0]);

  const now = () => {
    const result = forward(nodes), fired = backward(nodes, step.value);
    return { result, fired, last: fired.at(-1) };
  };
  /** (f(leaf + h) - f(leaf)) / h, on a copy. */
  const slope = (h) => {
    const copy = nodes.map((v) => ({ ...v })), before = forward(copy);
    copy[at].data += h;
    return (forward(copy) - before) / h;
  };

  let boxes = [], pulled = null;
  const high = () => Math.max(190, Math.min(350, 30 + layout(nodes).rows * 66));
  x.figure(high, (g) => {
    const { last } = now(), { col, row, columns, rows } = layout(nodes), { ctx } = g;
    const bw = Math.min(118, (g.w - 20) / columns - 24), bh = Math.min(50, (g.h - 20) / rows - 8);
    const X = (i) => 10 + bw / 2 + (columns > 1 ? (col[i] * (g.w - 20 - bw)) / (columns - 1) : 0);
    const Y = (i) => 10 + bh / 2 + (rows > 1 ? (row[i] * (g.h - 20 - bh)) / (rows - 1) : 0);
    boxes = nodes.map((_, i) => [X(i) - bw / 2, Y(i) - bh / 2, bw, bh]);
    nodes.forEach((v, i) => v.args.forEach((j) => {
      const on = last?.node === i;
      if (on) arrow(g, X(i) - bw / 2, Y(i), X(j) + bw / 2 + 2, Y(j), g.cats[1], 2.4, 9);
      else arrow(g, X(j) + bw / 2, Y(j), X(i) - bw / 2 - 1, Y(i), g.muted, 1, 6);
    }));
    const received = new Set(last?.added.map(([i]) => i));
    nodes.forEach((v, i) => {
      const [bx, by] = boxes[i], fires = last?.node === i;
      ctx.fillStyle = received.has(i) ? g.soft : g.paper;
      ctx.strokeStyle = fires ? g.cats[1] : !v.op && !v.constant && i === at ? g.cats[3] : g.ink;
      ctx.lineWidth = fires || (!v.op && i === at) ? 2.5 : 1;
      ctx.setLineDash(v.constant ? [3, 3] : []);
      ctx.beginPath(); ctx.roundRect(bx, by, bw, bh, 6); ctx.fill(); ctx.stroke();
      const head = v.op ? `${v.name ? `${v.name} = ` : ""}${v.op}${fires ? " fires" : ""}` : v.name;
      const small = bh < 44 ? 10 : 12;
      text(g, head.length > 16 ? `${head.slice(0, 15)}…` : head, X(i), by + bh * 0.2, { align: "center", bold: true, size: small });
      text(g, `data ${fixed(v.data, 4)}`, X(i), by + bh * 0.52, { align: "center", size: small, colour: g.cats[0] });
      text(g, `grad ${fixed(v.grad, 4)}`, X(i), by + bh * 0.83, { align: "center", size: small, colour: g.cats[1] });
    });
  }, {
    cursor: "ns-resize",
    label: "The graph: drag a leaf up or down, or choose one with left and right and move it with up and down",
    pointer(kind, px, py) {
      if (kind === "down") {
        const hit = boxes.findIndex(([bx, by, w, h]) => px >= bx && px <= bx + w && py >= by && py <= by + h);
        pulled = hit >= 0 && leaves().includes(hit) ? { y: py, from: nodes[hit].data } : null;
        if (pulled) pick(hit);
      } else if (kind === "move" && pulled) {
        move(Math.max(-10, Math.min(10, Math.round((pulled.from + (pulled.y - py) * 0.02) * 100) / 100)));
        value.set(nodes[at].data);
      } else if (kind === "up") pulled = null;
    },
    keys(key) {
      const all = leaves(), side = { ArrowLeft: -1, ArrowRight: 1 }[key], up = { ArrowUp: 0.1, ArrowDown: -0.1 }[key];
      if (!all.length || !(side || up)) return false;
      if (side) pick(all[(all.indexOf(at) + side + all.length) % all.length]);
      if (up) { move(Math.max(-10, Math.min(10, nodes[at].data + up))); value.set(nodes[at].data); }
      return true;
    },
  });
  x.words(() => {
    const { result, fired, last } = now(), total = +step.input.max;
    const what = last
      ? `Step ${fired.length} of ${total}: ${named(last.node)} (gradient ${fixed(nodes[last.node].grad, 4)}) adds ${last.added.map(([i, by]) => `${fixed(by, 4)} to ${named(i)}`).join(" and ")}.`
      : "Step 0: the result's gradient is 1, all others are 0. Say what the next node will add, and press “next step”.";
    if (!leaves().length) return `The result is ${fmt(result, 5)}. ${what}`;
    const measured = slope(nudge.value), whole = run(nodes);
    return `The result is ${fixed(result, 4)}. ${what} Nudge: with ${named(at)} + ${nudge.value} the result changes by ${fmt(measured * nudge.value, 4)}, a slope of ${fixed(measured, 4)}; backward finds ${fixed(whole.nodes[at].grad, 4)}.`;
  });
  return x.start();
}

export default widget(draw);
