# A worker that runs the smoke test whenever it is asked.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .smoke),
    # The server and the test are on this machine, which a worker may not reach unless it is told.
    (name = "internet", network = (allow = ["private"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const smoke :Workerd.Worker = (
  compatibilityDate = "2026-11-01",
  modules = [
    (name = "worker.mjs", esModule = embed "worker.mjs"),
    (name = "js/test/smoke.mjs", esModule = embed "../../../../js/test/smoke.mjs"),
    (name = "js/dist/wsctl.js", esModule = embed "../../../../js/dist/wsctl.js"),
  ],
);
