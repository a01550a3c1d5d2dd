// How 10,000 clients come back to a server that was away, and how one behaves before a server that crashes on everyone, as
// Markdown tables, the same in every run: node js/bench/herd.mjs
//
// Ours is the client of js/dist in virtual time; peers are their policies.
import { policies } from './policies.mjs';
import { crashLoop, herd, peers } from './sim.mjs';

const clients = 10_000;
const outages = { 'at once': 0, 'after 10 s': 10_000, 'after 60 s': 60_000, 'after 10 min': 600_000 };

const table = (headings, rows) => {
  console.log(`| ${headings.join(' | ')} |\n| --- |${' --: |'.repeat(headings.length - 1)}`);
  for (const row of rows) console.log(`| ${row.join(' | ')} |`);
  console.log();
};
const seconds = (ms) => (ms < Infinity ? `${(ms / 1000).toFixed(1)} s` : 'never');
const number = (n) => n.toLocaleString('en', { maximumFractionDigits: 1 });

console.warn = () => {}; // of lost sessions, by all clients
for (const [when, outage] of Object.entries(outages)) {
  const results = {
    '**wsctl**': await herd({ clients, outage }),
    '**wsctl**, planned (`$goaway`)': await herd({ clients, outage, planned: true }),
  };
  for (const [name, policy] of Object.entries(policies)) results[name] = peers({ clients, outage, policy });
  console.log(`${number(clients)} clients lose a server that is back ${when}: time until half and 95 % have dialed it, ` +
    'dials in the worst 100 ms, dials of each in all\n');
  table(
    ['client', 'p50', 'p95', 'peak', 'dials each'],
    Object.entries(results).map(([name, { p50, p95, peak, dials }]) =>
      [name, seconds(p50), seconds(p95), number(peak), number(dials)]),
  );
}

console.log('A server closes every connection at once: dials of one wsctl client in 10 s, mean and most of 1,000\n');
const loops = [];
for (const code of [1000, 1001, 1006, 1011, 1012, 4401, 4403, 4409, 4429, 4510]) {
  const late = await crashLoop({ clients: 1000, code });
  const early = await crashLoop({ clients: 1000, code, early: true });
  loops.push([code, number(late.mean), late.most, number(early.mean), early.most]);
}
table(['close code', 'when open: mean', 'most', 'before `$welcome`: mean', 'most'], loops);
