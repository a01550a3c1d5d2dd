module github.com/wsctl/wsctl/internal/e2e

go 1.26

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	github.com/wsctl/wsctl v0.1.0
)

require (
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
)

replace github.com/wsctl/wsctl => ../..
