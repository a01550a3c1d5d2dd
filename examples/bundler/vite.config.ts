import { defineConfig } from 'vite';

export default defineConfig({
  root: 'web',
  // main.go is the server. Vite stands before it only while the page is worked on.
  server: { proxy: { '/ws': { target: 'ws://localhost:42000', ws: true } } },
});
