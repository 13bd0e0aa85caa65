// What all explorables share: controls, a canvas that is sharp on every screen, axes, colours, random numbers.
//
// A module builds its figure like this, and the same code runs in a notebook and on a page without a kernel:
//     const x = explorable(el, "Title");
//     const rate = x.slider("rate", { min: 0, max: 1, step: 0.01, value: 0.1 });
//     x.figure(300, (g) => { ... paint with g.ctx, in g's colours ... });
//     x.words(() => `what the figure says at rate ${rate.value}`);
//     return x.start();

const LIGHT = {
  ink: "#22262b", paper: "#fcfcfa", line: "#d9dcd6", muted: "#63696f", soft: "#e8f0fa",
  cats: ["#136fd7", "#ae2d35", "#23686c", "#be8800", "#2e1986", "#489da2"],
  low: [19, 111, 215], high: [174, 45, 53], mid: [252, 252, 250],
  ramp: [[26, 17, 72], [31, 90, 134], [47, 143, 122], [200, 185, 47]],
};
const DARK = {
  ink: "#e7e9ec", paper: "#15181c", line: "#3b424b", muted: "#a3abb5", soft: "#22303f",
  cats: ["#80ceff", "#d14c5e", "#4fac9d", "#ecd744", "#856cf5", "#9effda"],
  low: [86, 168, 240], high: [226, 96, 112], mid: [21, 24, 28],
  ramp: [[112, 88, 214], [70, 150, 205], [95, 195, 150], [245, 235, 110]],
};

const CSS = `
.zth { max-width: 880px; color: var(--ink); background: var(--paper); border: 1px solid var(--line); border-radius: 6px;
  padding: 8px 12px; font: 13px/1.4 system-ui, sans-serif; box-sizing: border-box; }
.zth * { box-sizing: border-box; }
.zth-controls { display: flex; flex-wrap: wrap; gap: 4px 16px; align-items: end; margin-bottom: 6px; }
.zth label { display: flex; flex-direction: column; gap: 1px; font-size: 12px; color: var(--ink); }
.zth label.zth-row { flex-direction: row; align-items: center; gap: 5px; padding-bottom: 4px; }
.zth output { font-variant-numeric: tabular-nums; font-weight: 600; }
.zth input[type=range] { width: 140px; margin: 2px 0; accent-color: var(--accent); }
.zth input[type=text], .zth select, .zth button { font: inherit; color: var(--ink); background: var(--paper);
  border: 1px solid var(--muted); border-radius: 4px; padding: 2px 7px; height: 27px; }
.zth button { cursor: pointer; }
.zth button:hover, .zth button[aria-pressed=true] { background: var(--soft); }
.zth :focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
.zth canvas { display: block; max-width: 100%; touch-action: pan-y; }
.zth-words { margin: 6px 0 0; min-height: 2.8em; }
.zth-problem { margin: 4px 0; padding: 2px 8px; color: #7a1420; background: #fbe9eb; border-radius: 4px; }
.zth-problem:empty { display: none; }
`;

/** The widget that anywidget wants, from a module's draw(el, data). New data go to what draw has returned, if it has
 *  an `update`; else all is drawn again. */
export function widget(draw) {
  return {
    render({ model, el }) {
      let clean = draw(el, model.get("data"));
      model.on("change:data", () => {
        if (clean?.update) return clean.update(model.get("data"));
        clean?.();
        el.replaceChildren();
        clean = draw(el, model.get("data"));
      });
      return () => clean?.();
    },
  };
}

/** The frame of a figure; see the top of this file. */
export function explorable(el, title) {
  const make = (tag, attributes = {}, parent = null) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "text") node.textContent = value;
      else node.setAttribute(name, value);
    }
    parent?.append(node);
    return node;
  };
  const id = `zth-${Math.random().toString(36).slice(2, 9)}`;
  const root = make("div", { class: "zth", role: "group", "aria-label": title }, el);
  make("style", { text: CSS }, root);
  const bar = make("div", { class: "zth-controls" }, root);
  const problem = make("p", { class: "zth-problem", role: "alert" }, root);
  const figures = make("div", {}, root);
  const words = make("p", { class: "zth-words", "aria-live": "polite", id: `${id}-words` }, root);
  const controls = [], canvases = [], resets = [];
  let say = () => "", waiting = 0, theme = LIGHT, alive = true;

  const paint = () => {
    waiting = 0;
    if (!alive) return;
    for (const c of canvases) c.paint();
    const said = say();
    if (words.textContent !== said) words.textContent = said;
  };
  const update = () => { waiting ||= requestAnimationFrame(paint); };

  const changed = (control) => {
    control.onchange?.(control.value);
    update();
  };
  const labelled = (label, row) => {
    const box = make("label", row ? { class: "zth-row" } : {}, bar);
    const head = make("span", { text: label }, box);
    return [box, head];
  };
  const keep = (control) => {
    const start = control.value;
    control.reset = () => control.set(start);
    controls.push(control);
    return control;
  };

  const x = {
    root, title, update,

    /** A slider; `list` instead of min, max and step gives it a few stops. */
    slider(label, { min = 0, max = 1, step = 0.01, value = 0, list = null, show = null }) {
      const [box, head] = labelled(label);
      if (list) [min, max, step, value] = [0, list.length - 1, 1, list.indexOf(value)];
      const number = make("output", {}, head);
      head.insertBefore(document.createTextNode(" "), number);
      const input = make("input", { type: "range", min, max, step, "aria-label": label }, box);
      input.value = value;
      const read = () => (list ? list[+input.value] : +input.value);
      const tell = () => {
        control.value = read();
        number.textContent = show ? show(control.value) : fmt(control.value);
        input.setAttribute("aria-valuetext", number.textContent);
      };
      const control = {
        value: read(), input, box,
        set(v) { input.value = list ? list.indexOf(v) : v; tell(); },
        bounds(low, high) { input.min = low; input.max = high; tell(); },
      };
      input.addEventListener("input", () => { tell(); changed(control); });
      tell();
      return keep(control);
    },
    choice(label, options, value = options[0]) {
      const [box] = labelled(label);
      const input = make("select", { "aria-label": label }, box);
      for (const option of options) make("option", { value: option, text: option }, input);
      input.value = value;
      const control = { value, input, box, set(v) { input.value = v; control.value = v; } };
      input.addEventListener("change", () => { control.value = input.value; changed(control); });
      return keep(control);
    },
    check(label, value = false) {
      const [box, head] = labelled(label, true);
      const input = make("input", { type: "checkbox", "aria-label": label });
      box.insertBefore(input, head);
      input.checked = value;
      const control = { value, input, box, set(v) { input.checked = v; control.value = v; } };
      input.addEventListener("change", () => { control.value = input.checked; changed(control); });
      return keep(control);
    },
    /** A text box; `wrong(text)` says in words what is wrong with a text, and then the figure stays as it was. */
    text(label, value, wrong = () => "", width = 110) {
      const [box] = labelled(label);
      const input = make("input", { type: "text", "aria-label": label, spellcheck: "false", autocomplete: "off" }, box);
      input.style.width = `${width}px`;
      input.value = value;
      const control = {
        value, input, box,
        set(v) { input.value = v; control.value = v; x.problem(""); },
      };
      input.addEventListener("input", () => {
        const why = wrong(input.value);
        x.problem(why);
        input.setAttribute("aria-invalid", String(Boolean(why)));
        if (!why) { control.value = input.value; changed(control); }
      });
      return keep(control);
    },
    button(label, press) {
      const button = make("button", { type: "button", text: label }, bar);
      button.addEventListener("click", () => { press(button); update(); });
      return button;
    },
    /**
     * A canvas of a given height (or a function that gives it), as wide as there is room (at most `width`); paint(g) draws it.
     * pointer(kind, x, y): "hover", "down", "move" (dragged), "up", "leave". keys(key): true if it was meant.
     */
    figure(height, painter, { pointer = null, keys = null, width = 856, label = title, cursor = "" } = {}) {
      const canvas = make("canvas", { role: keys ? "application" : "img", "aria-label": label, "aria-describedby": words.id }, figures);
      canvas.style.cursor = cursor;
      const ctx = canvas.getContext("2d");
      const it = {
        canvas, w: 0, h: 0, count: 0,
        paint() {
          it.h = typeof height === "function" ? height() : height;
          const w = Math.max(300, Math.min(width, figures.clientWidth || width));
          const dpr = window.devicePixelRatio || 1;
          const [pw, ph] = [Math.round(w * dpr), Math.round(it.h * dpr)];
          if (canvas.width !== pw || canvas.height !== ph) {
            [canvas.width, canvas.height] = [pw, ph];
            [canvas.style.width, canvas.style.height] = [`${w}px`, `${it.h}px`];
          }
          it.w = w;
          ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
          ctx.globalAlpha = 1;
          ctx.fillStyle = theme.paper;
          ctx.fillRect(0, 0, w, it.h);
          painter({ ctx, w, h: it.h, ...theme });
          canvas.dataset.paints = String(++it.count);
        },
      };
      canvases.push(it);
      if (pointer) {
        const at = (event) => {
          const box = canvas.getBoundingClientRect();
          return [((event.clientX - box.left) * it.w) / box.width, ((event.clientY - box.top) * it.h) / box.height];
        };
        let down = false;
        const on = (name, kind) => canvas.addEventListener(name, (event) => {
          if (kind === "down") { down = true; canvas.setPointerCapture(event.pointerId); }
          pointer(kind === "move" && !down ? "hover" : kind, ...at(event));
          if (kind === "up" || kind === "leave") down = kind === "leave" ? down : false;
          update();
        });
        on("pointerdown", "down"); on("pointermove", "move"); on("pointerup", "up"); on("pointerleave", "leave");
      }
      if (keys) {
        canvas.tabIndex = 0;
        canvas.addEventListener("keydown", (event) => {
          if (keys(event.key)) { event.preventDefault(); event.stopPropagation(); update(); }
        });
      }
      return it;
    },
    words(f) { say = f; },
    problem(text) { if (problem.textContent !== text) problem.textContent = text; },
    onReset(f) { resets.push(f); },
    reset() {
      for (const control of controls) control.reset();
      for (const f of resets) f();
      x.problem("");
      update();
    },
    /** Calls f(milliseconds since the last) at each frame while it returns true. */
    animate(f) {
      let last = performance.now();
      const frame = (now) => {
        if (!alive) return;
        const go = f(now - last);
        last = now;
        paint();
        if (go) requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    },
    /** Adds "reset", draws, and gives what cleans up. */
    start({ reset = true } = {}) {
      if (reset) x.button("reset", () => x.reset());
      else bar.remove();
      const look = () => {
        theme = isDark(el) ? DARK : LIGHT;
        for (const name of ["ink", "paper", "line", "muted", "soft"]) root.style.setProperty(`--${name}`, theme[name]);
        root.style.setProperty("--accent", theme.cats[0]);
        root.style.colorScheme = theme === DARK ? "dark" : "light";
        root.dataset.theme = theme === DARK ? "dark" : "light";
        update();
      };
      // JupyterLab would take the arrow keys of a control for its own; Ctrl+S it may have
      const keys = (event) => {
        if (root.contains(event.target)) event.target.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey));
      };
      window.addEventListener("keydown", keys, true);
      const resized = new ResizeObserver(update);
      resized.observe(figures);
      const themed = new MutationObserver(look);
      for (const node of [document.documentElement, document.body])
        themed.observe(node, { attributes: true, attributeFilter: ["class", "data-theme", "data-jp-theme-light", "data-vscode-theme-kind", "style"] });
      const system = matchMedia("(prefers-color-scheme: dark)");
      system.addEventListener("change", look);
      look();
      paint();
      return () => {
        alive = false;
        window.removeEventListener("keydown", keys, true);
        resized.disconnect();
        themed.disconnect();
        system.removeEventListener("change", look);
      };
    },
  };
  return x;
}

/** Does the page around an element have a dark background? */
function isDark(el) {
  for (let node = el; node; node = node.parentElement) {
    const [r, g, b, a = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    if (a > 0.5) return 0.299 * r + 0.587 * g + 0.114 * b < 128;
  }
  return false;
}

// -- painting ----------------------------------------------------------------------------------------------

const FONT = "system-ui, sans-serif", MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

export function text(g, words, x, y, { size = 12, align = "left", base = "middle", colour = g.ink, mono = false, bold = false } = {}) {
  g.ctx.font = `${bold ? "600 " : ""}${size}px ${mono ? MONO : FONT}`;
  g.ctx.textAlign = align;
  g.ctx.textBaseline = base;
  g.ctx.fillStyle = colour;
  g.ctx.fillText(words, x, y);
}

/** Axes in the box {x, y, w, h}, from xlim and ylim; the result maps values to pixels and draws what belongs there. */
export function axes(g, box, { xlim, ylim, xlabel = "", ylabel = "", title = "", xticks = null, yticks = null, xnames = null, ynames = null }) {
  const { ctx } = g;
  const X = (v) => box.x + ((v - xlim[0]) / (xlim[1] - xlim[0])) * box.w;
  const Y = (v) => box.y + box.h - ((v - ylim[0]) / (ylim[1] - ylim[0])) * box.h;
  const xs = xticks ?? niceTicks(...xlim, Math.max(2, box.w / 80)), ys = yticks ?? niceTicks(...ylim, Math.max(2, box.h / 45));
  ctx.setLineDash([]);
  ctx.lineWidth = 1;
  ctx.strokeStyle = g.line;
  ctx.beginPath();
  for (const v of ynames ? [] : ys) { ctx.moveTo(box.x, Math.round(Y(v)) + 0.5); ctx.lineTo(box.x + box.w, Math.round(Y(v)) + 0.5); }
  ctx.stroke();
  ctx.strokeStyle = g.ink;
  ctx.beginPath();
  ctx.moveTo(box.x + 0.5, box.y); ctx.lineTo(box.x + 0.5, box.y + box.h + 0.5); ctx.lineTo(box.x + box.w, box.y + box.h + 0.5);
  ctx.stroke();
  xs.forEach((v, i) => text(g, xnames ? xnames[i] : fmt(v), X(v), box.y + box.h + 5, { size: 11, align: "center", base: "top", mono: Boolean(xnames) }));
  ys.forEach((v, i) => text(g, ynames ? ynames[i] : fmt(v), box.x - 5, Y(v), { size: 11, align: "right" }));
  if (xlabel) text(g, xlabel, box.x + box.w / 2, box.y + box.h + 20, { align: "center", base: "top" });
  if (ylabel) {
    ctx.save();
    ctx.translate(box.x - 38, box.y + box.h / 2);
    ctx.rotate(-Math.PI / 2);
    text(g, ylabel, 0, 0, { align: "center" });
    ctx.restore();
  }
  if (title) text(g, title, box.x, box.y - 10, { bold: true });
  const inside = (f) => {
    ctx.save();
    ctx.beginPath();
    ctx.rect(box.x, box.y - 1, box.w, box.h + 2);
    ctx.clip();
    f();
    ctx.restore();
  };
  return {
    X, Y, box, inside,
    back: (px, py) => [xlim[0] + ((px - box.x) / box.w) * (xlim[1] - xlim[0]), ylim[0] + ((box.y + box.h - py) / box.h) * (ylim[1] - ylim[0])],
    line(us, vs, colour, { width = 1.6, dash = [] } = {}) {
      inside(() => {
        ctx.strokeStyle = colour; ctx.lineWidth = width; ctx.setLineDash(dash);
        ctx.beginPath();
        let pen = false;
        for (let i = 0; i < us.length; i++) {
          if (!Number.isFinite(vs[i])) { pen = false; continue; }
          const v = Math.max(-1e4, Math.min(1e4, Y(vs[i])));
          if (pen) ctx.lineTo(X(us[i]), v); else ctx.moveTo(X(us[i]), v);
          pen = true;
        }
        ctx.stroke();
      });
    },
    bar(at, from, to, width, colour) {
      const [a, b] = [Y(from), Y(to)];
      inside(() => { ctx.fillStyle = colour; ctx.fillRect(X(at - width / 2), Math.min(a, b), X(at + width / 2) - X(at - width / 2), Math.abs(a - b)); });
    },
    level(v, colour, dash = [4, 4]) {
      inside(() => {
        ctx.strokeStyle = colour; ctx.lineWidth = 1; ctx.setLineDash(dash);
        ctx.beginPath(); ctx.moveTo(box.x, Y(v)); ctx.lineTo(box.x + box.w, Y(v)); ctx.stroke();
      });
    },
  };
}

const SHAPES = ["circle", "square", "triangle", "diamond", "down", "cross"];

/** A mark whose shape tells the category as its colour does. */
export function mark(g, kind, x, y, r, fill, stroke = g.ink) {
  const { ctx } = g, shape = SHAPES[kind % 6];
  ctx.beginPath();
  if (shape === "circle") ctx.arc(x, y, r, 0, 7);
  else if (shape === "square") ctx.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  else {
    const points = {
      triangle: [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]], down: [[0, 1.2], [1.1, -0.8], [-1.1, -0.8]],
      diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
      cross: [[-1, -0.4], [-0.4, -0.4], [-0.4, -1], [0.4, -1], [0.4, -0.4], [1, -0.4], [1, 0.4], [0.4, 0.4], [0.4, 1], [-0.4, 1], [-0.4, 0.4], [-1, 0.4]],
    }[shape];
    points.forEach(([a, b], i) => (i ? ctx.lineTo(x + a * r, y + b * r) : ctx.moveTo(x + a * r, y + b * r)));
    ctx.closePath();
  }
  ctx.setLineDash([]);
  if (fill) { ctx.fillStyle = fill; ctx.fill(); }
  if (stroke) { ctx.strokeStyle = stroke; ctx.lineWidth = 1; ctx.stroke(); }
}

export function arrow(g, x0, y0, x1, y1, colour, width = 1.5, head = 7) {
  const { ctx } = g, a = Math.atan2(y1 - y0, x1 - x0);
  ctx.strokeStyle = ctx.fillStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash([]);
  ctx.beginPath(); ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  for (const turn of [0.42, -0.42]) ctx.lineTo(x1 - head * Math.cos(a + turn), y1 - head * Math.sin(a + turn));
  ctx.fill();
}

const mix = (a, b, t) => `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * t)).join(",")})`;

/** From one colour over the paper to the other, for values from -1 to 1. */
export const diverging = (g, v) => (v < 0 ? mix(g.mid, g.low, Math.min(1, -v)) : mix(g.mid, g.high, Math.min(1, v)));

/** From the paper to blue, for values from 0 to 1. */
export const shade = (g, v) => mix(g.mid, g.low, Math.max(0, Math.min(1, v)));

/** The colour of the i-th of n layers: an ordered ramp, from dark to light. */
export function depth(g, i, n) {
  const t = (n > 1 ? i / (n - 1) : 0) * 2.999, k = Math.floor(t);
  return mix(g.ramp[k], g.ramp[k + 1], t - k);
}

// -- numbers -----------------------------------------------------------------------------------------------

/** A number as a reader wants it: 0.25, 1,500, 3.1e-5, and never -0. */
export function fmt(v, digits = 3) {
  if (!Number.isFinite(v)) return Number.isNaN(v) ? "nan" : v > 0 ? "∞" : "−∞";
  if (v === 0 || Math.abs(v) < 1e-12) return "0";
  const size = Math.abs(v);
  if (size < 1e-3 || size >= 1e6) return v.toExponential(1).replace("-", "−").replace("e−", "e−").replace("e+", "e");
  const text = String(+v.toPrecision(Math.max(digits, Math.ceil(Math.log10(size + 1)))));
  return text.replace("-", "−");
}

/** With exactly so many decimals, so that nothing jumps while it changes. */
export const fixed = (v, decimals = 2) => {
  if (!Number.isFinite(v)) return fmt(v);
  const text = v.toFixed(decimals);
  return (+text === 0 ? text.replace("-", "") : text.replace("-", "−"));
};

export const percent = (p) => (p > 0 && p < 0.001 ? "< 0.1%" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)}%`);

function niceTicks(low, high, most) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const ticks = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) ticks.push(Math.abs(v) < step * 1e-6 ? 0 : v);
  return ticks;
}

/** Random numbers from a seed: the same on every machine. random() in [0, 1), random.normal(). */
export function randomFrom(seed) {
  let a = seed >>> 0;
  const next = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  next.normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  next.pick = (p) => {
    let u = next() * p.reduce((s, v) => s + v, 0), i = 0;
    while (i < p.length - 1 && (u -= p[i]) >= 0) i++;
    return i;
  };
  return next;
}

export function softmax(z) {
  const top = z.reduce((m, v) => Math.max(m, v), -Infinity), e = Array.from(z, (v) => Math.exp(v - top));
  const sum = e.reduce((s, v) => s + v, 0);
  return e.map((v) => v / sum);
}

export const entropy = (p) => p.reduce((s, v) => s - (v > 0 ? v * Math.log(v) : 0), 0);

/** An array from Python (`explorable.pack`): {shape, scale, data}, 16-bit whole numbers in base64. */
export function unpack({ shape, scale, data }) {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const whole = new Int16Array(bytes.buffer);
  const values = Float32Array.from(whole, (v) => v * scale);
  values.shape = shape;
  return values;
}

/** Matrix products of row-major arrays: (n, k) @ (k, m) -> (n, m), with b (m,) added to each row if given. */
export function matmul(A, B, n, k, m, b = null) {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    const row = i * m;
    if (b) for (let j = 0; j < m; j++) out[row + j] = b[j];
    for (let q = 0; q < k; q++) {
      const a = A[i * k + q];
      if (a !== 0) for (let j = 0, at = q * m; j < m; j++) out[row + j] += a * B[at + j];
    }
  }
  return out;
}
