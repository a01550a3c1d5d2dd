// Package e2e has the tests that need a real browser: the starter's page, the classic page of the original template, and
// the client as a browser runs it. Run them with
//
//	go test ./...
//
// They need Chromium or Chrome, and fail without one. Environment variables:
//
//	WSCTL_E2E=off          skips the tests
//	WSCTL_E2E_SHOTS=dir    writes screenshots of the starter's page there
package e2e
