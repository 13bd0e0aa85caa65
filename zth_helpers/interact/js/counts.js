// Lesson 2's table of counts: choose a row, smooth it, warm it, and draw a name letter by letter.
import { axes, entropy, explorable, fixed, percent, randomFrom, shade, text, widget } from "./kit.js";

/** A row of counts as probabilities: k is added to each count, then the logarithms are divided by T. */
export function rowOf(counts, k, T) {
  const sum = counts.reduce((s, v) => s + v + k, 0);
  const p = counts.map((v) => (sum > 0 ? (v + k) / sum : 1 / counts.length));
  if (T === 1) return p;
  const top = Math.max(...p), warm = p.map((v) => (v > 0 ? (v / top) ** (1 / T) : 0)), all = warm.reduce((s, v) => s + v, 0);
  return warm.map((v) => v / all);
}

export function draw(el, { letters, counts }) {
  const x = explorable(el, "Counts of letter pairs: a row, and a walk through the table");
  const V = letters.length, high = Math.sqrt(Math.max(...counts.flat()));
  const row = x.choice("first letter", letters, letters[Math.min(1, V - 1)]);
  const k = x.slider("added to each count", { list: [0, 1, 3, 10, 30, 100, 300, 1000, 10000], value: 0 });
  const T = x.slider("temperature", { list: [0.2, 0.3, 0.5, 0.7, 0.85, 1, 1.2, 1.5, 2, 3], value: 1 });
  let column = null, walk = [], random = randomFrom(42), names = [];
  const r = () => letters.indexOf(row.value);
  const p = (i) => rowOf(counts[i], k.value, T.value);
  const one = () => {
    if (!walk.length || (walk.length > 1 && walk.at(-1) === 0) || walk.length > 40) walk = [0];
    walk.push(random.pick(p(walk.at(-1))));
    row.set(letters[walk.at(-2)]);
    column = walk.at(-1);
    if (column === 0 || walk.length > 40) names = [spelt(), ...names].slice(0, 8);
  };
  const spelt = () => walk.slice(1).filter((i) => i > 0).map((i) => letters[i]).join("") || "(empty)";
  x.button("draw a letter", one);
  x.button("draw a name", () => { walk = []; do one(); while (walk.at(-1) !== 0 && walk.length <= 40); });
  row.onchange = () => { column = null; walk = []; };
  const clear = () => { [column, walk, random, names] = [null, [], randomFrom(42), []]; };
  x.onReset(clear);

  let map;
  x.figure(404, (g) => {
    const size = 352, cell = size / V;
    map = { x: 22, y: 36, size, cell };
    text(g, "counts: next letter →, first letter ↓", map.x, 9, { bold: true });
    for (let i = 0; i < V; i++) {
      text(g, letters[i], map.x + (i + 0.5) * cell, map.y - 8, { size: 11, align: "center", mono: true, bold: i === column });
      text(g, letters[i], map.x - 9, map.y + (i + 0.5) * cell, { size: 11, align: "center", mono: true, bold: i === r() });
      for (let j = 0; j < V; j++) {
        g.ctx.fillStyle = shade(g, 0.9 * Math.sqrt(counts[i][j]) / high);
        g.ctx.fillRect(map.x + j * cell, map.y + i * cell, cell + 0.5, cell + 0.5);
      }
    }
    g.ctx.setLineDash([]); g.ctx.lineWidth = 2; g.ctx.strokeStyle = g.cats[3];
    g.ctx.strokeRect(map.x, map.y + r() * cell, size, cell);
    if (column !== null) { g.ctx.strokeStyle = g.cats[1]; g.ctx.strokeRect(map.x + column * cell, map.y + r() * cell, cell, cell); }
    if (walk.length > 1) {
      g.ctx.strokeStyle = g.cats[1]; g.ctx.lineWidth = 1.3; g.ctx.beginPath();
      for (let s = 0; s + 1 < walk.length; s++) {
        const at = [map.x + (walk[s + 1] + 0.5) * cell, map.y + (walk[s] + 0.5) * cell];
        if (s) { g.ctx.lineTo(map.x + (walk[s] + 0.5) * cell, at[1]); g.ctx.lineTo(...at); } else g.ctx.moveTo(...at);
      }
      g.ctx.stroke();
    }
    const left = map.x + size + 62, w = g.w - left - 6, now = p(r()), plain = rowOf(counts[r()], 0, 1);
    const ax = axes(g, { x: left, y: 36, w, h: 204 }, {
      xlim: [-0.7, V - 0.3], ylim: [0, 1], xticks: letters.map((_, i) => i), xnames: letters,
      ylabel: "probability", xlabel: "next letter", title: `after “${row.value}”: counts + ${k.value}, temperature ${T.value}`,
    });
    for (let j = 0; j < V; j++) {
      ax.bar(j, 0, now[j], 0.7, j === column ? g.cats[1] : g.cats[0]);
      g.ctx.strokeStyle = g.ink; g.ctx.lineWidth = 1;
      ax.inside(() => g.ctx.strokeRect(ax.X(j - 0.45), ax.Y(plain[j]), ax.X(j + 0.45) - ax.X(j - 0.45), ax.Y(0) - ax.Y(plain[j])));
    }
    ax.level(1 / V, g.muted);
    text(g, "outline: as counted · dots: equally likely", left, 290, { colour: g.muted });
    text(g, `walk: ${walk.length ? walk.map((i) => letters[i]).join("→") : "press “draw a letter”"}`.slice(0, 58), left, 318, { mono: true });
    text(g, `names: ${names.slice(0, 4).join(" ")}`.slice(0, 58), left, 344, { mono: true });
    if (names.length > 4) text(g, `       ${names.slice(4).join(" ")}`.slice(0, 58), left, 364, { mono: true });
  }, {
    cursor: "pointer",
    label: "The table of counts: click a cell, or move with the arrow keys",
    pointer(kind, px, py) {
      if (kind !== "down" && kind !== "move") return;
      const [j, i] = [Math.floor((px - map.x) / map.cell), Math.floor((py - map.y) / map.cell)];
      if (i < 0 || j < 0 || i >= V || j >= V) return;
      row.set(letters[i]);
      [column, walk] = [j, []];
    },
    keys(key) {
      const [di, dj] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key] ?? [0, 0];
      if (!di && !dj) return false;
      row.set(letters[(r() + di + V) % V]);
      column = ((column ?? 0) + dj + V) % V;
      walk = [];
      return true;
    },
  });
  x.words(() => {
    const now = p(r()), best = now.indexOf(Math.max(...now)), all = counts[r()].reduce((s, v) => s + v, 0);
    const here = column === null ? "" : ` “${row.value}${letters[column]}” was counted ${counts[r()][column].toLocaleString("en")} times: ${percent(now[column])} now.`;
    return `“${row.value}” was followed by something ${all.toLocaleString("en")} times, most likely by “${letters[best]}” (${percent(now[best])}). ` +
      `The row's entropy is ${fixed(entropy(now))} of at most ${fixed(Math.log(V))} nats.${here}` + (walk.length > 1 ? ` The walk spells “${spelt()}”.` : "");
  });
  return x.start();
}

export default widget(draw);
