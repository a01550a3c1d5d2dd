/*
Package client is the Go client of wsctl.v1, the protocol of a wsctl server: messages, calls and streams over a WebSocket that
may be lost and made again without anything being lost with it.

	c, err := client.Dial(ctx, "wss://example.com/ws", nil)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	client.On(c, "Said", func(l Line) { fmt.Println(l.Text) })
	sum, err := client.Call[int](ctx, c, "Add", [2]int{1, 2})
*/
package client
