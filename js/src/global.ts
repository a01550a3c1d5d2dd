// The entry of wsctl.global.js, a classic script. Its names are properties of globalThis, never var, let or class: a
// page's own `const MessageTypes` still parses, and wins.
import * as wsctl from './index.ts';

const { SimpleSocketHandler, MessageTypes } = wsctl;
Object.assign(globalThis, { wsctl: { ...wsctl }, SimpleSocketHandler, MessageTypes });
