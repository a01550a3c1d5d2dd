// A server that goes away, and those who want it back: our client as it is in js/dist, peers by their policies.
import { Client } from '../dist/wsctl.js';
import { Clock } from './clock.mjs';

const url = 'ws://host/ws?';

// Network is a server and the way to it, of 1 ms. Clients are told apart by what their URL ends with.
class Network {
  up = true;
  dials = []; // [time, client] of each
  open = new Set();
  connected = () => {}; // told of each socket when the handshake is done
  welcomed = () => {}; // and when it is open to the client, which of wsctl.v1 is later

  constructor(clock) {
    const network = this;
    this.WebSocket = class {
      readyState = 0;
      protocol = '';

      constructor(address, protocols) {
        network.dials.push([clock.now, address.slice(url.length)]);
        clock.after(1, () => {
          if (this.readyState !== 0) return; // given up
          if (!network.up) return this.end(1006);
          this.protocol = [protocols].flat().includes('wsctl.v1') ? 'wsctl.v1' : '';
          this.readyState = 1;
          network.open.add(this);
          this.onopen?.({});
          network.connected(this);
          if (!this.protocol) network.welcomed(this);
        });
      }

      // Sessions don't outlive this server. It sends no pings, and says so.
      send(text) {
        if (this.readyState !== 1 || JSON.parse(text).type !== '$hello') return;
        const data = {
          session: `s${network.dials.length}`, resumed: false, received: 0,
          ping: 0, timeout: 10_000, max: 65_536, ack: 64, window: 64, schema: '',
        };
        clock.after(1, () => {
          if (this.readyState !== 1) return;
          this.message('$welcome', data);
          network.welcomed(this);
        });
      }

      message(type, data) {
        this.onmessage?.({ data: JSON.stringify({ type, data }) });
      }

      // By the client, who doesn't wait for the answer.
      close() {
        network.open.delete(this);
        this.readyState = 3;
      }

      end(code) {
        this.close();
        if (code === 1006) this.onerror?.({});
        this.onclose?.({ code, reason: '', wasClean: code !== 1006 });
      }
    };
  }

  close(code) {
    for (const socket of this.open) socket.end(code);
  }
}

async function simulate(seed, work) {
  const clock = new Clock(seed);
  clock.install();
  try {
    return await work(clock, new Network(clock));
  } finally {
    clock.uninstall();
  }
}

/**
 * herd lets a server with so many of our clients go away for outage ms, and tells how they come back. planned: it says
 * `$goaway` before, with the range that Handler.Shutdown gives (goawayFrame in handshake.go), and closes with 1001;
 * else connections are lost without a word.
 */
export function herd({ clients, outage, planned = false, seed, options }) {
  return simulate(seed, async (clock, network) => {
    for (let i = 0; i < clients; i++) new Client(url + i, { WebSocket: network.WebSocket, ...options });
    await clock.run(60_000);
    if (network.open.size !== clients) throw new Error(`${network.open.size} of ${clients} clients have connected`);

    network.dials = [];
    network.up = outage === 0;
    if (planned) {
      const spread = Math.min(Math.max(1000, 2 * clients), 30_000);
      for (const socket of network.open) socket.message('$goaway', { min: 100, max: 100 + spread });
    }
    network.close(planned ? 1001 : 1006);
    const back = clock.now + outage;
    await clock.run(outage);
    network.up = true;
    // More than any delay: by then everyone has tried.
    await clock.run(60_000);
    return report(clients, network.dials.length, network.dials.map(([time]) => time - back).filter((time) => time >= 0));
  });
}

/** peers is herd for clients of a policy. */
export function peers({ clients, outage, policy, seed }) {
  const clock = new Clock(seed);
  const times = [];
  let dials = 0;
  for (let i = 0; i < clients; i++) {
    const delay = policy(() => clock.random());
    let time = 0;
    for (let n = 0; ; n++) {
      const ms = delay(n);
      if (ms === undefined) break;
      dials++;
      time += ms;
      if (time < outage) continue;
      times.push(time - outage);
      break;
    }
  }
  return report(clients, dials, times);
}

// Of the dials after the server's return, each a success: the times until half and 95 % of the clients are back, and how
// many came within the worst 100 ms.
function report(clients, dials, times) {
  times.sort((a, b) => a - b);
  let peak = 0;
  for (let first = 0, last = 0; last < times.length; last++) {
    while (times[last] - times[first] >= 100) first++;
    peak = Math.max(peak, last - first + 1);
  }
  const after = (part) => times[Math.ceil(part * clients) - 1] ?? Infinity;
  return { returned: times.length, p50: after(0.5), p95: after(0.95), peak, dials: dials / clients };
}

/**
 * crashLoop tells how often one client dials in ms while the server closes every connection with the code as soon as it
 * is open, or early, before the `$welcome`: the mean over so many clients, and the most of any.
 */
export function crashLoop({ clients, code, early = false, ms = 10_000, seed, options }) {
  return simulate(seed, async (clock, network) => {
    network[early ? 'connected' : 'welcomed'] = (socket) => socket.end(code);
    for (let i = 0; i < clients; i++) new Client(url + i, { WebSocket: network.WebSocket, ...options });
    await clock.run(ms);
    const each = new Map();
    for (const [, client] of network.dials) each.set(client, (each.get(client) ?? 0) + 1);
    return { mean: network.dials.length / clients, most: Math.max(...each.values()) };
  });
}
