// Runs the smoke test and answers with its log.
import { smoke } from './js/test/smoke.mjs';

export default {
  async fetch(request) {
    const { searchParams } = new URL(request.url);
    const lines = [];
    await smoke(searchParams.get('url'), searchParams.get('control'), (line) => lines.push(line));
    return new Response(lines.join('\n') + '\n');
  },
};
