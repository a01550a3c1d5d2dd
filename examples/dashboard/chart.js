// A line chart on a canvas: one value of many samples over time. Nothing here knows where samples come from.

/**
 * @typedef {{run: string, n: number, at: number}} Sample measured at `at`, ms of Unix time. Those of one run whose numbers n
 *   follow each other are joined by the line; where some are missing it has a hole.
 *
 * @typedef {object} Options
 * @property {(sample: any) => number} read the value, 0 or more
 * @property {(value: number) => string} format for the labels
 * @property {number} least the top of the scale is at least so high, that little doesn't look like much
 * @property {(at: number | undefined) => void} onpoint called when somebody points at a moment, or at none any more
 */

const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');
const darkScheme = matchMedia('(prefers-color-scheme: dark)');
const minutes = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const seconds = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });

const moveFor = 400; // ms, from one view to the next
const margin = { top: 14, right: 12, bottom: 26, left: 58 }; // round the plot, the same for all: one moment, one place
const gap = 10; // between it and the labels at its left

/** steps are how far apart, in ms, the labels of time may stand. */
const steps = [5, 10, 15, 20, 30, 60, 120].map((s) => s * 1000);

export class Chart {
  #canvas;
  #tip;
  #options;
  #size = { width: 0, height: 0, ratio: 1 }; // in CSS pixels, and the device's pixels for each
  #colours = {};
  #samples = [];
  #pointed; // a moment
  /** A view is what the axes show: edge is the moment at the right, span so many ms before it, top the highest value. */
  #view;
  #from;
  #to;
  #moved = 0; // when it began to move there
  #frame = 0; // that is asked for
  #plot = { left: 0, right: 1, top: 0, bottom: 1 };

  /**
   * @param {HTMLCanvasElement} canvas fills its parent, which has a place for the tip
   * @param {HTMLElement} tip
   * @param {Options} options
   */
  constructor(canvas, tip, options) {
    this.#canvas = canvas;
    this.#tip = tip;
    this.#options = options;
    this.#readColours();
    darkScheme.addEventListener('change', () => {
      this.#readColours();
      this.#draw(); // at once: the page around it has changed already
    });
    const sizes = new ResizeObserver(([entry]) => this.#resize(entry));
    try {
      sizes.observe(canvas, { box: 'device-pixel-content-box' });
    } catch {
      sizes.observe(canvas); // Safari has no such box, where the size is a guess at times
    }
    canvas.addEventListener('pointermove', (event) => options.onpoint(this.#moment(event.offsetX)));
    canvas.addEventListener('pointerleave', () => options.onpoint());
    canvas.addEventListener('blur', () => options.onpoint());
    canvas.addEventListener('keydown', (event) => this.#key(event));
  }

  /**
   * show shows the samples of the last span ms before the newest. The array isn't copied.
   * @param {Sample[]} samples the oldest first; at least one
   * @param {number} span
   */
  show(samples, span) {
    const edge = samples.at(-1).at;
    const highest = samples.reduce((max, s) => (s.at < edge - span ? max : Math.max(max, this.#options.read(s))), 0);
    const { step, count } = scale(Math.max(highest, this.#options.least));
    this.#samples = samples;
    this.#to = { edge, span, top: step * count };
    // A step is seen better if it moves. A leap is no step: the first samples, or those of a long time away.
    const leaps = !this.#view || edge - this.#view.edge > span / 10;
    this.#from = leaps || reducedMotion.matches ? this.#to : this.#view;
    this.#moved = performance.now();
    this.#ask();
  }

  /**
   * point marks the sample that is nearest to a moment, or none.
   * @param {number} [at]
   */
  point(at) {
    this.#pointed = at;
    this.#ask();
  }

  #readColours() {
    const style = getComputedStyle(this.#canvas);
    for (const name of ['series', 'grid', 'soft', 'card', 'break']) this.#colours[name] = style.getPropertyValue('--' + name).trim();
    this.#colours.font = `12px ${style.fontFamily}`;
  }

  #resize(entry) {
    const { width, height } = entry.contentRect;
    const box = entry.devicePixelContentBoxSize?.[0];
    const exact = box && Math.abs(box.inlineSize - width * devicePixelRatio) < 1; // not where another device is emulated
    const ratio = exact && width ? box.inlineSize / width : devicePixelRatio;
    this.#size = { width, height, ratio };
    this.#canvas.width = exact ? box.inlineSize : Math.round(width * ratio);
    this.#canvas.height = exact ? box.blockSize : Math.round(height * ratio);
    this.#draw(); // at once: the canvas is blank now
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === 'Escape') this.#options.onpoint();
    if (!step || !this.#samples.length) return;
    event.preventDefault();
    const shown = this.#samples.filter((s) => s.at >= this.#to.edge - this.#to.span);
    const i = this.#pointed === undefined ? shown.length - 1 : shown.indexOf(this.#nearest()) + step;
    this.#options.onpoint(shown[Math.max(0, Math.min(i, shown.length - 1))].at);
  }

  #ask() {
    this.#frame ||= requestAnimationFrame((now) => {
      this.#frame = 0;
      const done = Math.min(1, Math.max(0, (now - this.#moved) / moveFor));
      const part = 1 - (1 - done) ** 3;
      if (this.#to) this.#view = mix(this.#from, this.#to, part);
      this.#draw();
      if (done < 1) this.#ask();
    });
  }

  #x(at) {
    const { left, right } = this.#plot;
    return right - ((this.#view.edge - at) / this.#view.span) * (right - left);
  }

  #y(value) {
    const { top, bottom } = this.#plot;
    return bottom - (value / this.#view.top) * (bottom - top);
  }

  #moment(x) {
    const { left, right } = this.#plot;
    return this.#view && this.#view.edge - ((right - x) / (right - left)) * this.#view.span;
  }

  #nearest() {
    let best;
    for (const s of this.#samples) {
      if (!best || Math.abs(s.at - this.#pointed) <= Math.abs(best.at - this.#pointed)) best = s;
    }
    return best;
  }

  #draw() {
    const { width, height, ratio } = this.#size;
    if (!this.#view || !width || !height) return;
    const g = this.#canvas.getContext('2d');
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    g.font = this.#colours.font;
    g.lineJoin = g.lineCap = 'round';

    const { step, count } = scale(this.#to.top); // the lines of where it moves to
    this.#plot = { left: margin.left, right: width - margin.right, top: margin.top, bottom: height - margin.bottom };
    this.#drawGrid(g, Array.from({ length: count + 1 }, (_, i) => i * step));

    g.save();
    g.beginPath();
    g.rect(this.#plot.left, 0, width - this.#plot.left, height); // what is too old leaves at the left
    g.clip();
    this.#drawSeries(g);
    g.restore();
    this.#drawPointed(g);
  }

  #drawGrid(g, values) {
    const { left, right, bottom } = this.#plot;
    const { ratio } = this.#size;
    const crisp = (v) => (Math.round(v * ratio) + 0.5) / ratio; // the middle of a pixel
    g.lineWidth = 1 / ratio;
    g.strokeStyle = this.#colours.grid;
    g.fillStyle = this.#colours.soft;
    g.textAlign = 'right';
    g.textBaseline = 'middle';
    for (const value of values) {
      const y = crisp(this.#y(value));
      g.beginPath();
      g.moveTo(left, y);
      g.lineTo(right, y);
      g.stroke();
      g.fillText(this.#options.format(value), left - gap, y);
    }
    g.textAlign = 'center';
    g.textBaseline = 'alphabetic';
    const room = (this.#to.span * 78) / (right - left); // 78 pixels each
    const step = steps.find((s) => s >= room) ?? steps.at(-1);
    const clock = step % 60_000 ? seconds : minutes;
    const half = g.measureText(clock.format(0)).width / 2;
    for (let at = Math.floor(this.#view.edge / step) * step; at >= this.#view.edge - this.#view.span; at -= step) {
      const x = this.#x(at);
      if (x - half < left || x + half > right + margin.right) continue;
      g.fillText(clock.format(at), x, bottom + 20);
    }
  }

  #drawSeries(g) {
    const { series, card } = this.#colours;
    const { left, bottom } = this.#plot;
    const point = (s) => ({ x: this.#x(s.at), y: this.#y(this.#options.read(s)) });
    const highest = this.#samples.map(point).reduce((y, p) => (p.x < left ? y : Math.min(y, p.y)), bottom - 1);
    const area = g.createLinearGradient(0, highest, 0, bottom);
    area.addColorStop(0, series + '59'); // the colours have six hexadecimal digits; these are of the alpha
    area.addColorStop(1, series + '05');
    let before;
    for (const part of parts(this.#samples)) {
      const points = part.map(point);
      if (before && before.run !== part[0].run) this.#drawBreak(g, (this.#x(before.at) + points[0].x) / 2);
      before = part.at(-1);
      const line = new Path2D();
      curve(line, points);
      const below = new Path2D(line);
      below.lineTo(points.at(-1).x, bottom);
      below.lineTo(points[0].x, bottom);
      g.fillStyle = area;
      g.fill(below);
      g.lineWidth = 2;
      g.strokeStyle = series;
      g.stroke(line);
    }
    const last = this.#samples.at(-1);
    this.#drawDot(g, this.#x(last.at), this.#y(this.#options.read(last)), series, card, series + '33');
  }

  /** Here the server was started anew: before and after it the numbers are those of two processes. */
  #drawBreak(g, x) {
    g.save();
    g.strokeStyle = g.fillStyle = this.#colours.break;
    g.lineWidth = 1.5;
    g.setLineDash([3, 4]);
    g.beginPath();
    g.moveTo(x, this.#plot.top);
    g.lineTo(x, this.#plot.bottom);
    g.stroke();
    const atRight = x + g.measureText('restarted').width + 6 < this.#plot.right;
    g.textAlign = atRight ? 'left' : 'right';
    g.textBaseline = 'top';
    g.fillText('restarted', x + (atRight ? 6 : -6), this.#plot.top);
    g.restore();
  }

  #drawDot(g, x, y, colour, ring, halo) {
    for (const [r, fill] of [[9, halo], [5, ring], [3.5, colour]]) {
      if (!fill) continue;
      g.fillStyle = fill;
      g.beginPath();
      g.arc(x, y, r, 0, 2 * Math.PI);
      g.fill();
    }
  }

  #drawPointed(g) {
    const { left, right, top, bottom } = this.#plot;
    const sample = this.#pointed === undefined ? undefined : this.#nearest();
    const x = sample && this.#x(sample.at);
    this.#tip.hidden = !sample || x < left - 1;
    if (this.#tip.hidden) return;
    const value = this.#options.read(sample);
    const y = this.#y(value);
    g.lineWidth = 1;
    g.strokeStyle = this.#colours.soft + '99';
    g.beginPath();
    g.moveTo(x, top);
    g.lineTo(x, bottom);
    g.stroke();
    this.#drawDot(g, x, y, this.#colours.series, this.#colours.card);
    this.#tip.replaceChildren(element('b', this.#options.format(value)), element('time', seconds.format(sample.at)));
    const { offsetWidth: w, offsetHeight: h } = this.#tip;
    const tipX = x + 12 + w > right ? x - 12 - w : x + 12;
    this.#tip.style.transform = `translate(${Math.round(tipX)}px, ${Math.round(Math.max(top, Math.min(y - h / 2, bottom - h)))}px)`;
  }
}

/** scale divides what is to be shown into a few steps of 1, 2 or 5 times a power of ten. */
function scale(top) {
  const about = top / 3;
  const power = 10 ** Math.floor(Math.log10(about));
  const step = Math.max(1, power * ([1, 2, 5].find((n) => n * power >= about * (1 - 1e-9)) ?? 10));
  return { step, count: Math.ceil(top / step - 1e-9) };
}

function mix(from, to, part) {
  return Object.fromEntries(Object.keys(to).map((key) => [key, from[key] + (to[key] - from[key]) * part]));
}

/** parts are the pieces without a hole. */
function parts(samples) {
  const all = [];
  let before;
  for (const s of samples) {
    if (before && s.run === before.run && s.n === before.n + 1) all.at(-1).push(s);
    else all.push([s]);
    before = s;
  }
  return all;
}

/** curve is smooth and never higher or lower than the points at its ends: a monotone cubic. */
function curve(path, points) {
  const slopes = points.slice(1).map((p, i) => (p.y - points[i].y) / (p.x - points[i].x || 1));
  const tangent = (i) => {
    const before = slopes[i - 1] ?? slopes[i] ?? 0;
    const after = slopes[i] ?? before;
    return before * after > 0 ? (2 * before * after) / (before + after) : 0;
  };
  path.moveTo(points[0].x, points[0].y);
  if (points.length === 1) path.lineTo(points[0].x, points[0].y); // a dot
  for (let i = 1; i < points.length; i++) {
    const [a, b] = [points[i - 1], points[i]];
    const third = (b.x - a.x) / 3;
    path.bezierCurveTo(a.x + third, a.y + tangent(i - 1) * third, b.x - third, b.y - tangent(i) * third, b.x, b.y);
  }
}

function element(tag, text) {
  const e = document.createElement(tag);
  e.textContent = text;
  return e;
}
