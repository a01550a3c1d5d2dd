// Another script of the same page: it sees what the first declared, and binds a second callback to the same message, which
// runs after the first.
handler.bind('hello_world', function (data) {
  happened.push(['hello_world again', data]);
});
happened.push(['types', [MessageTypes.WS_OPEN, MessageTypes.WS_CLOSE]]);
