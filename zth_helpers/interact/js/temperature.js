// Names at different temperatures, sampled in Python once for each, and the first letter's distribution.
import { axes, entropy, explorable, fixed, softmax, text, widget } from "./kit.js";

/** Probabilities of logits that are divided by a temperature. */
export const warmed = (logits, T) => softmax(logits.map((z) => z / T));

export function draw(el, { letters, logits, temperatures, names, known }) {
  const x = explorable(el, "Names, colder and warmer");
  const V = letters.length, T = x.slider("temperature", { list: temperatures, value: 1 });
  const here = () => names[temperatures.indexOf(T.value)], copied = (name) => known.includes(name);
  x.figure(262, (g) => {
    const p = warmed(logits, T.value), plain = warmed(logits, 1), w = g.w * 0.62;
    const ax = axes(g, { x: 50, y: 24, w, h: 190 }, { xlim: [-0.7, V - 0.3], ylim: [0, 1], xticks: letters.map((_, i) => i), xnames: letters, xlabel: "first letter", ylabel: "probability", title: `first letter at temperature ${T.value} (outline: at 1)` });
    p.forEach((v, i) => {
      ax.bar(i, 0, v, 0.7, g.cats[0]);
      g.ctx.strokeStyle = g.ink; g.ctx.lineWidth = 1; g.ctx.setLineDash([]);
      ax.inside(() => g.ctx.strokeRect(ax.X(i - 0.45), ax.Y(plain[i]), ax.X(i + 0.45) - ax.X(i - 0.45), ax.Y(0) - ax.Y(plain[i])));
    });
    ax.level(1 / V, g.muted);
    const left = 50 + w + 30;
    text(g, "names (✓: known)", left, 14, { bold: true });
    here().forEach((name, i) => text(g, `${name.length > 18 ? `${name.slice(0, 17)}…` : name}${copied(name) ? " ✓" : ""}`, left, 34 + i * 18, { mono: true, size: 13 }));
  });
  x.words(() => {
    const p = warmed(logits, T.value), all = here(), copies = all.filter(copied).length;
    return `Temperature ${T.value}: the first letter has an entropy of ${fixed(entropy(p))} of at most ${fixed(Math.log(V))} nats. Of ${all.length} names ${new Set(all).size} are different, and ${copies} stand in the training list.`;
  });
  return x.start();
}

export default widget(draw);
