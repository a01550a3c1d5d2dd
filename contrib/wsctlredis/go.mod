module github.com/wsctl/wsctl/contrib/wsctlredis

go 1.26.0

require (
	github.com/redis/rueidis v1.0.79
	github.com/wsctl/wsctl v0.1.0
)

require (
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/wsctl/wsctl => ../..
