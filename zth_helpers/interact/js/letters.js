// Lesson 3's network: its embedding of the letters, and what it expects after the letters that you type.
import { axes, entropy, explorable, fixed, matmul, percent, softmax, text, unpack, widget } from "./kit.js";

/** Logits after a context of letter numbers: tanh(C[context] @ W1 + b1) @ W2 + b2. */
export function logits({ C, W1, b1, W2, b2 }, context) {
  const D = C.shape[1], H = W1.shape[1], V = W2.shape[1];
  const x = Float64Array.from(context.flatMap((i) => Array.from(C.subarray(i * D, (i + 1) * D))));
  const h = matmul(x, W1, 1, x.length, H, b1).map(Math.tanh);
  return Array.from(matmul(h, W2, 1, H, V, b2));
}

/** The other letters with their Euclidean distance in all dimensions, the nearest first. */
export function nearest(C, i) {
  const [V, D] = C.shape, out = [];
  for (let j = 0; j < V; j++) {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += (C[i * D + d] - C[j * D + d]) ** 2;
    if (j !== i) out.push([j, Math.sqrt(sum)]);
  }
  return out.sort((a, b) => a[1] - b[1] || a[0] - b[0]);
}

/** Labels that would cover each other move apart; the dots stay where they are. */
export function apart(points, gap, rounds = 80) {
  const at = points.map(([a, b]) => [a, b]);
  for (let r = 0; r < rounds; r++)
    for (let i = 0; i < at.length; i++)
      for (let j = i + 1; j < at.length; j++) {
        let [dx, dy] = [at[j][0] - at[i][0], at[j][1] - at[i][1]];
        if (!dx && !dy) [dx, dy] = [0.1 * (j - i), 0.1];
        const d = Math.hypot(dx, dy);
        if (d < gap) {
          const push = (gap - d) / 2 / d;
          at[i][0] -= dx * push; at[i][1] -= dy * push; at[j][0] += dx * push; at[j][1] += dy * push;
        }
      }
  return at;
}

export function wrongText(words, letters, longest) {
  const typed = words.trim().toLowerCase();
  if (typed.length > longest) return `${typed.length} characters are too many (at most ${longest}).`;
  const unknown = [...new Set(typed)].filter((c) => !letters.includes(c));
  return unknown.length ? `Not in the vocabulary: ${unknown.join(" ")}. It has ${letters.join("")}` : "";
}

export function draw(el, data) {
  const x = explorable(el, "The embedding of the letters, and the next letter");
  const net = Object.fromEntries(["C", "W1", "b1", "W2", "b2"].map((name) => [name, unpack(data[name])]));
  const { letters, block, start } = data, [V, D] = net.C.shape, dims = Array.from({ length: D }, (_, i) => String(i));
  const typed = x.text("name so far", start, (w) => wrongText(w, letters, 20));
  const letter = x.choice("nearest to", letters, letters.includes("a") ? "a" : letters[1]);
  const across = x.slider("dimension across", { min: 0, max: D - 1, step: 1, value: 0 });
  const up = x.slider("dimension up", { min: 0, max: D - 1, step: 1, value: Math.min(1, D - 1) });
  const context = () => Array.from(("." .repeat(block) + typed.value.trim().toLowerCase()).slice(-block));
  const expected = () => softmax(logits(net, context().map((c) => letters.indexOf(c))));
  x.button("add the likeliest", () => {
    const p = expected(), best = p.indexOf(Math.max(...p));
    if (best) typed.set((typed.value + letters[best]).slice(-20)); else typed.set("");
  });
  const is = (c) => ("aeiou".includes(c) ? 1 : c === "." ? 4 : 0);

  let labels = [], bars;
  x.figure(344, (g) => {
    const i = letters.indexOf(letter.value), near = nearest(net.C, i), size = g.w * 0.4, { ctx } = g;
    const value = (j, d) => net.C[j * D + d], lim = (d) => {
      const all = letters.map((_, j) => value(j, d)), [low, high] = [Math.min(...all), Math.max(...all)], room = 0.1 * (high - low || 1);
      return [low - room, high + room];
    };
    const map = axes(g, { x: 50, y: 24, w: size, h: 270 }, { xlim: lim(across.value), ylim: lim(up.value), xlabel: `C[:, ${across.value}]`, ylabel: `C[:, ${up.value}]`, title: `embedding: “${letter.value}” and its three nearest in all ${D}` });
    const dots = letters.map((_, j) => [map.X(value(j, across.value)), map.Y(value(j, up.value))]);
    labels = apart(dots, 17);
    ctx.setLineDash([]);
    near.slice(0, 3).forEach(([j]) => { ctx.strokeStyle = g.cats[3]; ctx.lineWidth = 2.5; ctx.beginPath(); ctx.moveTo(...labels[i]); ctx.lineTo(...labels[j]); ctx.stroke(); });
    letters.forEach((c, j) => {
      ctx.strokeStyle = g.muted; ctx.lineWidth = 0.7; ctx.beginPath(); ctx.moveTo(...dots[j]); ctx.lineTo(...labels[j]); ctx.stroke();
      const colour = g.cats[is(c)], here = j === i;
      ctx.beginPath();
      if (is(c) === 1) ctx.rect(labels[j][0] - 7.5, labels[j][1] - 7.5, 15, 15); else ctx.arc(...labels[j], 8, 0, 7);
      ctx.fillStyle = here ? colour : g.paper; ctx.fill(); ctx.strokeStyle = colour; ctx.lineWidth = 1.6; ctx.stroke();
      text(g, c, ...labels[j], { size: 12, align: "center", bold: true, colour: here ? g.paper : colour });
    });
    const left = 50 + size + 52, rows = near.slice(0, 10), far = rows.at(-1)[1] || 1, w = g.w - left - 12;
    text(g, `distance from “${letter.value}” in all ${D} dimensions`, left - 24, 14, { bold: true });
    rows.forEach(([j, d], k) => {
      const [col, line] = [k % 2, Math.floor(k / 2)], cx = left - 20 + col * (w / 2 + 12), y = 32 + line * 15;
      text(g, letters[j], cx, y, { bold: true, mono: true });
      ctx.fillStyle = g.cats[is(letters[j])]; ctx.fillRect(cx + 14, y - 3, ((w / 2 - 60) * d) / far, 6);
      text(g, fixed(d), cx + 20 + ((w / 2 - 60) * d) / far, y, { size: 11 });
    });
    const p = expected(), high = 1;
    bars = axes(g, { x: left, y: 132, w, h: 162 }, { xlim: [-0.7, V - 0.3], ylim: [0, high], xticks: letters.map((_, j) => j), xnames: letters, xlabel: "next letter", ylabel: "probability", title: `after “${context().join("")}”, all that the network sees` });
    p.forEach((v, j) => bars.bar(j, 0, v, 0.75, j === i ? g.cats[3] : g.cats[0]));
    bars.level(1 / V, g.muted);
  }, {
    cursor: "pointer",
    label: "The map of the letters: click a letter to see its nearest; click a bar to type it. Left and right arrow keys choose a letter",
    pointer(kind, px, py) {
      if (kind !== "down") return;
      const hit = labels.findIndex(([a, b]) => Math.hypot(px - a, py - b) < 10);
      if (hit >= 0) letter.set(letters[hit]);
      else if (px >= bars.box.x && py > bars.box.y) {
        const j = Math.round(bars.back(px, py)[0]);
        if (letters[j]) typed.set(j ? (typed.value + letters[j]).slice(-20) : "");
      }
    },
    keys(key) {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (move) letter.set(letters[(letters.indexOf(letter.value) + move + V) % V]);
      return Boolean(move);
    },
  });
  x.words(() => {
    const p = expected(), best = p.map((v, j) => [v, j]).sort((a, b) => b[0] - a[0]).slice(0, 3), near = nearest(net.C, letters.indexOf(letter.value));
    return `After “${context().join("")}” the network expects ${best.map(([v, j]) => `“${letters[j]}” ${percent(v)}`).join(", ")}; entropy ${fixed(entropy(p))} of at most ${fixed(Math.log(V))} nats. ` +
      `Nearest to “${letter.value}”: ${near.slice(0, 3).map(([j, d]) => `“${letters[j]}” (${fixed(d)})`).join(", ")}. Squares are vowels.`;
  });
  return x.start();
}

export default widget(draw);
