// Virtual time for thousands of clients in one process, and dice that fall the same way in every run. Node's own mock
// timers keep a list that is searched for each timer, which is too slow for so many.

/** Clock stands in for setTimeout, clearTimeout, Date.now, performance.now and Math.random while it is installed. */
export class Clock {
  now = 0; // ms
  #due = new Map(); // ms: what is due then, in the order in which it was set
  #state; // of the dice
  #real = {};

  constructor(seed = 1) {
    this.#state = seed;
    this.random(); // the first number after a small seed is small
  }

  install() {
    const { setTimeout, clearTimeout } = globalThis;
    this.#real = { setTimeout, clearTimeout, date: Date.now, performance: performance.now, random: Math.random };
    globalThis.setTimeout = (fn, ms, ...args) => this.after(ms, () => fn(...args));
    globalThis.clearTimeout = (timer) => {
      if (timer) timer.fn = undefined;
    };
    Date.now = performance.now = () => this.now;
    Math.random = () => this.random();
  }

  uninstall() {
    const { setTimeout, clearTimeout, date, performance: now, random } = this.#real;
    Object.assign(globalThis, { setTimeout, clearTimeout });
    Date.now = date;
    performance.now = now;
    Math.random = random;
  }

  /** after calls fn in whole ms from now, one at least, as Node does. */
  after(ms, fn) {
    const at = this.now + Math.max(1, Math.trunc(ms) || 0);
    const timer = { fn };
    const others = this.#due.get(at);
    others ? others.push(timer) : this.#due.set(at, [timer]);
    return timer;
  }

  /** run lets the next ms pass; promises settle before time goes on. */
  async run(ms) {
    for (const end = this.now + ms; this.now < end; ) {
      const timers = this.#due.get(++this.now);
      if (!timers) continue;
      this.#due.delete(this.now);
      for (const timer of timers) timer.fn?.();
      await new Promise(setImmediate);
    }
  }

  /** random is uniform in [0, 1): Marsaglia's xorshift32. */
  random() {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) / 2 ** 32;
  }
}
