module github.com/wsctl/wsctl

go 1.26

require (
	github.com/go-json-experiment/json v1.27.2
	github.com/gorilla/websocket v1.5.3
)

ignore node_modules // of examples/bundler
