// A page in the manner of the template: classic scripts, one handler, messages bound by name. What happens is written down
// for the test.
const happened = [];
const handler = new SimpleSocketHandler('ws://' + location.host + '/ws');

handler
  .bind(MessageTypes.WS_OPEN, function (data) {
    happened.push(['open', data]);
    document.getElementById('hello').disabled = false;
    document.getElementById('gdc').disabled = false;
  })
  .bind(MessageTypes.WS_CLOSE, function (data) {
    happened.push(['close', data]);
    document.getElementById('hello').disabled = true;
    document.getElementById('gdc').disabled = true;
  });

handler.bind('hello_world', function (data) {
  document.getElementById('answer').textContent = data;
  happened.push(['hello_world', data]);
});

handler.bind('gdc', function (data) {
  happened.push(['gdc', data]);
});

document.getElementById('hello').onclick = function () {
  handler.send('hello', '');
};

document.getElementById('gdc').onclick = function () {
  handler.send('compute_gdc', JSON.stringify([12, 18]));
};
