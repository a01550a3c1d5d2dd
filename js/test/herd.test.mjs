// What a server gets to bear when it comes back, or doesn't get up. The numbers beside those of others: js/bench/herd.mjs.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { policies } from '../bench/policies.mjs';
import { crashLoop, herd, peers } from '../bench/sim.mjs';

const clients = 1000;

before(() => {
  console.warn = () => {}; // of lost sessions, by all clients
});

for (const plain of [true, false]) {
  const level = plain ? 'plain' : 'v1';
  const options = { plain };

  test(`${level}: after a restart nobody stays away, and they don't come all at once`, async () => {
    for (const [outage, part, seconds] of [[0, 0.14, 1.1], [10_000, 0.04, 16], [60_000, 0.04, 18], [600_000, 0.04, 18]]) {
      const { returned, peak, p95 } = await herd({ clients, outage, options });
      assert.equal(returned, clients, `away for ${outage} ms`);
      assert.ok(peak <= part * clients, `away for ${outage} ms: ${peak} in 100 ms`);
      assert.ok(p95 <= seconds * 1000, `away for ${outage} ms: ${p95} ms for 95 %`);
    }
  });

  test(`${level}: a server that crashes on everyone isn't beaten`, async () => {
    for (const early of [false, true]) {
      for (const code of [1001, 1006, 1011, 1012, 4408, 4429, 4510]) {
        const { mean, most } = await crashLoop({ clients, code, early, options });
        assert.ok(mean > 1 && mean <= 6, `${code}: ${mean} dials of a client in 10 s`);
        assert.ok(most <= 10, `${code}: ${most} dials of one client in 10 s`);
      }
      for (const [code, dials] of [[1000, 1], [4403, 1], [4401, 2], [4409, 2]]) {
        assert.deepEqual(await crashLoop({ clients: 10, code, early, options }), { mean: dials, most: dials }, `${code}`);
      }
    }
  });
}

test('v1: a restart that was planned is spread as the server says', async () => {
  const many = 3 * clients; // come back over 6 s
  const planned = await herd({ clients: many, outage: 0, planned: true });
  assert.equal(planned.returned, many);
  assert.ok(planned.peak <= 0.03 * many, `${planned.peak} in 100 ms`);
  assert.ok(planned.p95 > 5000 && planned.p95 < 6100, `${planned.p95} ms`);
});

// Were the counting wrong, nothing above would fail.
test('clients without jitter do come all at once', () => {
  const { returned, peak } = peers({ clients, outage: 10_000, policy: policies.phoenix });
  assert.deepEqual({ returned, peak }, { returned: clients, peak: clients });
});

test('the same in every run, another with other dice', async () => {
  const run = (seed) => herd({ clients: 100, outage: 10_000, seed, options: { plain: true } });
  assert.deepEqual(await run(7), await run(7));
  assert.notDeepEqual(await run(7), await run(8));
});
