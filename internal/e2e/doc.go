// Package e2e has the tests that need a real browser: the pages of the examples, the classic page of the original template,
// and the client as a browser runs it, on a network that the tests spoil. And the client in runtimes that are no browsers:
// Node, Deno, Bun, workerd. Run them with
//
//	go test ./...
//
// They need Chromium or Chrome, and fail without one. The other runtimes come from npm, 750 MB, once: they are kept in the
// user's cache directory, in wsctl-e2e. Those that can't be had are skipped; -short skips them all.
// TestCuts reports, with -v, how long it takes from “network back” to “open again”. Environment variables:
//
//	WSCTL_E2E=off          skips the tests
//	WSCTL_E2E_SHOTS=dir    writes screenshots of the pages there
package e2e
