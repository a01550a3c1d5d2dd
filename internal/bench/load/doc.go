// Load is the load generator of the benchmarks: one thread that holds thousands of WebSocket connections to one server, or to
// two of the same rooms, gives it work, and verifies every byte of the answers.
//
//	load -addr HOST:PORT -stack plain|v1|centrifuge|geth -work echo|broadcast|idle|connect|storm|rooms|recover [flags]
//
// It prints "ready" when everything is connected and warm, waits for a line "go" on its standard input, works, prints one line
// of JSON with what it measured (the work rooms: one for each phase, each after a "go" of its own), and ends with its input. An
// answer that is wrong or missing, or a connection that is lost, ends it with status 1 and a line that says what came and what
// was expected.
//
// It must cost far less than the servers that it measures: frames are built beforehand, sockets are read through one buffer,
// and nothing is allocated for a message. The result says whether it was busy all the time, and so perhaps what was measured.
package main
