// When the clients of others dial again, by their defaults: the delay in ms before attempt n (0, 1, 2…) after a loss,
// undefined when they give up. random is Math.random's. A policy is made anew for each client.

const list = (delays, after) => (n) => delays[n] ?? after;

export const policies = {
  phoenix: () => list([10, 50, 100, 150, 200, 250, 500, 1000, 2000], 5000),
  // Only where withAutomaticReconnect() is asked for.
  signalr: () => list([0, 2000, 10_000, 30_000]),
  partysocket: () => (n) => Math.min(3000 * 1.3 ** n, 10_000),
  // Its dice fall once for each page.
  'reconnecting-websocket': (random) => {
    const first = 1000 + random() * 4000;
    return (n) => Math.min(first * 1.3 ** n, 10_000);
  },
  'graphql-ws': (random) => (n) => (n < 5 ? 1000 * 2 ** n + 300 + random() * 2700 : undefined),
  'rpc-websockets': () => (n) => (n < 5 ? 1000 : undefined),
  // The limit comes after the jitter, and so takes it away.
  'socket.io': (random) => (n) => Math.min(1000 * 2 ** n * (0.5 + random()), 5000),
  centrifuge: (random) => (n) => Math.min(500 + random() * Math.min(20_000, 500 * 2 ** n), 20_000),
};
