// The page's own names of messages, as pages of the template declare them: a const of a classic script.
const MessageTypes = {
  WS_OPEN: 'open',
  WS_CLOSE: 'close',
  HELLO: 'hello',
  HELLO_WORLD: 'hello_world',
  COMPUTE_GDC: 'compute_gdc',
  GDC: 'gdc',
};
