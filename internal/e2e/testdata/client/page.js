// Puts the module into the test's hands.
import * as wsctl from '/js/wsctl.js';

window.Client = wsctl.Client;
window.WsError = wsctl.WsError;
// How a promise ends, as text: a rejection can't be handed out of the browser whole.
window.end = (promise) => promise.then(
  (result) => 'ok ' + JSON.stringify(result),
  (error) => (error instanceof wsctl.WsError ? error.code : String(error)),
);
// A client that is open.
window.open1 = (options) => new Promise((done, failed) => {
  const client = new wsctl.Client('/ws', { plain: true, ...options });
  client.on('open', () => done(client));
  setTimeout(() => failed(new Error(client.state)), 10_000);
});
