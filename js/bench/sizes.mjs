// What a page loads for each client, as a Markdown table: node js/bench/sizes.mjs
//
// Peers are bundled from one import of what a page would use, so that a bundler drops the rest; ours are the files of
// js/dist as they are served, with all that they export. They are of es2022, hence the last column but one. Needs npm
// and gzip, and installs into a directory that is gone afterwards.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const peers = {
  '@microsoft/signalr': ['HubConnectionBuilder'],
  '@rails/actioncable': ['createConsumer'],
  centrifuge: ['Centrifuge'],
  'graphql-ws': ['createClient', '/client'],
  partysocket: ['default', '/ws'],
  phoenix: ['Socket'],
  'reconnecting-websocket': ['default'],
  'rpc-websockets': ['Client'],
  'socket.io-client': ['io'],
};
const ours = ['wsctl.core.js', 'wsctl.js', 'wsctl.global.js'];

const read = (...path) => readFileSync(join(import.meta.dirname, ...path));
const gzip = (input) => execFileSync('gzip', ['-9'], { input }).length; // zlib's of Node differs by its version

const dir = mkdtempSync(join(tmpdir(), 'wsctl-sizes-'));
const rows = [];
try {
  copyFileSync(join(import.meta.dirname, 'package.json'), join(dir, 'package.json'));
  // Nothing here is run but esbuild, which does without its script.
  execFileSync('npm', ['install', '--silent', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: dir, stdio: 'inherit' });
  const { buildSync, version } = createRequire(join(dir, 'package.json'))('esbuild');

  const bundle = (contents, target) =>
    buildSync({
      stdin: { contents, resolveDir: dir },
      bundle: true, minify: true, format: 'esm', platform: 'browser', target, write: false, logLevel: 'error',
    }).outputFiles[0].contents;

  for (const [name, [what, path = '']] of Object.entries(peers)) {
    const { version, dependencies = {}, peerDependencies = {}, peerDependenciesMeta = {} } = JSON.parse(
      readFileSync(join(dir, 'node_modules', name, 'package.json')),
    );
    const needed = Object.keys(peerDependencies).filter((peer) => !peerDependenciesMeta[peer]?.optional);
    const source = `export { ${what} } from '${name}${path}'`;
    const file = bundle(source, 'es2020');
    rows.push({
      client: name + path, version, minified: file.length, gzip: gzip(file), newer: gzip(bundle(source, 'es2022')),
      needs: [...Object.keys(dependencies), ...needed.map((peer) => `${peer} (peer)`)],
    });
  }
  for (const name of ours) {
    const file = read('../dist', name);
    const { version, dependencies = {} } = JSON.parse(read('../package.json'));
    rows.push({
      client: `**${name}**`, version, minified: file.length, gzip: gzip(file), newer: gzip(file),
      needs: Object.keys(dependencies),
    });
  }
  rows.sort((a, b) => a.gzip - b.gzip);

  console.log(`esbuild ${version} --bundle --minify --format=esm --platform=browser --target=es2020, gzip -9, bytes\n`);
  console.log('| client | version | minified | gzip | gzip, es2022 | runtime dependencies |');
  console.log('| --- | --- | --: | --: | --: | --- |');
  const number = (n) => n.toLocaleString('en');
  for (const { client, version, minified, gzip, newer, needs } of rows) {
    const list = needs.length ? `${needs.length}: ${needs.join(', ')}` : '0';
    console.log(`| ${client} | ${version} | ${number(minified)} | ${number(gzip)} | ${number(newer)} | ${list} |`);
  }
} finally {
  rmSync(dir, { recursive: true });
}
