// Logits → probabilities → loss → the gradient of the logits. Drag the bars.
import { arrow, axes, explorable, fixed, percent, softmax, text, widget } from "./kit.js";

/** Probabilities, loss and gradient of one example: loss = -log p[target], dlogits = p - onehot(target). */
export function lossAndGradient(logits, target) {
  const p = softmax(logits);
  const top = Math.max(...logits);
  const loss = top + Math.log(logits.reduce((s, v) => s + Math.exp(v - top), 0)) - logits[target];
  return { p, loss, dlogits: p.map((v, i) => v - (i === target ? 1 : 0)) };
}

export function draw(el, { letters, logits, target }) {
  const x = explorable(el, "Logits, probabilities, loss and gradient");
  const V = letters.length, REACH = Math.max(6, Math.ceil(Math.max(...logits.map(Math.abs)) + 1));
  let z = [...logits], at = target;
  const right = x.choice("right answer", letters, letters[target]);
  const which = x.choice("logit of", letters, letters[target]);
  const size = x.slider("logit", { min: -REACH, max: REACH, step: 0.05, value: z[at], show: (v) => fixed(v) });
  const rate = x.slider("rate", { min: 0.1, max: 5, step: 0.1, value: 1 });
  which.onchange = () => { at = letters.indexOf(which.value); size.set(z[at]); };
  size.onchange = () => { z[at] = size.value; };
  const pick = (i) => { at = Math.max(0, Math.min(V - 1, i)); which.set(letters[at]); size.set(z[at]); };
  const y = () => letters.indexOf(right.value);
  x.button("step: logits −= rate · (p − y)", () => {
    const { dlogits } = lossAndGradient(z, y());
    z = z.map((v, i) => Math.max(-REACH, Math.min(REACH, v - rate.value * dlogits[i])));
    size.set(z[at]);
  });
  x.button("equal logits", () => { z = z.map(() => 0); size.set(0); });
  x.onReset(() => { z = [...logits]; pick(target); });

  let upper;
  x.figure(360, (g) => {
    const left = 56, w = g.w - left - 8, names = { xticks: letters.map((_, i) => i), xnames: letters, xlim: [-0.7, V - 0.3] };
    const { p, dlogits } = lossAndGradient(z, y());
    upper = axes(g, { x: left, y: 24, w, h: 128 }, { ...names, ylim: [-REACH, REACH], ylabel: "logit", title: "Logits: drag a bar. Arrows: −(p − y), the way the loss pulls; line: after a step" });
    const lower = axes(g, { x: left, y: 206, w, h: 112 }, { ...names, ylim: [0, 1], ylabel: "probability", xlabel: "next character", title: "softmax(logits): the part that is missing at the right answer is the pull upwards" });
    upper.level(0, g.ink, []);
    for (let i = 0; i < V; i++) {
      const good = i === y(), colour = good ? g.cats[3] : g.cats[0];
      upper.bar(i, 0, z[i], 0.7, i === at ? colour : colour + "99");
      lower.bar(i, 0, p[i], 0.7, colour);
      const pull = -dlogits[i] * REACH * 0.9;
      if (Math.abs(pull) > 0.04 * REACH) arrow(g, upper.X(i), upper.Y(z[i]), upper.X(i), Math.max(upper.box.y - 4, Math.min(upper.box.y + upper.box.h + 2, upper.Y(z[i] + pull))), g.cats[1], 2);
      const next = upper.Y(Math.max(-REACH, Math.min(REACH, z[i] - rate.value * dlogits[i])));
      g.ctx.strokeStyle = g.ink; g.ctx.lineWidth = 1.5; g.ctx.setLineDash([]);
      g.ctx.beginPath(); g.ctx.moveTo(upper.X(i - 0.42), next); g.ctx.lineTo(upper.X(i + 0.42), next); g.ctx.stroke();
      if (good) {
        g.ctx.strokeStyle = g.ink; g.ctx.setLineDash([3, 3]); g.ctx.lineWidth = 1;
        g.ctx.strokeRect(lower.X(i - 0.35), lower.Y(1), lower.X(i + 0.35) - lower.X(i - 0.35), lower.Y(p[i]) - lower.Y(1));
        text(g, "y", lower.X(i), lower.Y(1) + 10, { align: "center", bold: true });
      }
    }
  }, {
    cursor: "ns-resize",
    label: "Logits as bars: drag one, or choose it with the left and right arrow keys and move it with up and down",
    pointer(kind, px, py) {
      if (kind !== "down" && kind !== "move") return;
      const [i, v] = upper.back(px, py);
      if (kind === "down") pick(Math.round(i));
      z[at] = Math.max(-REACH, Math.min(REACH, Math.round(v * 20) / 20));
      size.set(z[at]);
    },
    keys(key) {
      const side = { ArrowLeft: -1, ArrowRight: 1 }[key], up = { ArrowUp: 0.1, ArrowDown: -0.1, PageUp: 1, PageDown: -1 }[key];
      if (side) pick(at + side);
      if (up) { z[at] = Math.max(-REACH, Math.min(REACH, z[at] + up)); size.set(z[at]); }
      return Boolean(side || up);
    },
  });
  x.words(() => {
    const { p, loss, dlogits } = lossAndGradient(z, y());
    const others = dlogits.reduce((s, d, i) => s + (i === y() ? 0 : d), 0);
    return `“${right.value}” gets probability ${percent(p[y()])}, so the loss is −log p = ${fixed(loss, 3)} ` +
      `(equally likely: ln ${V} = ${fixed(Math.log(V), 3)}). Its logit is pulled up with ${fixed(-dlogits[y()], 3)}; ` +
      `the others are pushed down with ${fixed(others, 3)} in all, as much. “${letters[at]}”: p − y = ${fixed(dlogits[at], 3)}.`;
  });
  return x.start();
}

export default widget(draw);
