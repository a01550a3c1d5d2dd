package wsctl_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/mempipe"
)

// talk serves h, sends messages as a client, and prints the next answers that come, as many as wanted.
func talk(h http.Handler, header http.Header, answers int, messages ...string) {
	ln := mempipe.Listen()
	srv := &http.Server{Handler: h}
	go srv.Serve(ln)
	defer srv.Close()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return ln.DialContext(ctx) }}
	ws, resp, err := d.Dial("ws://example.com/ws", header)
	if err != nil {
		fmt.Println(resp.Status)
		return
	}
	defer ws.Close()
	for _, m := range messages {
		ws.WriteMessage(websocket.TextMessage, []byte(m))
	}
	for range answers {
		_, m, err := ws.ReadMessage()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(m))
	}
}

// Calculator shows the forms of methods.
type Calculator struct{}

type Division struct{ Dividend, Divisor int }

// Validate is asked before the method. Its text reaches the client.
func (d Division) Validate() error {
	if d.Divisor == 0 {
		return errors.New("nothing can be divided by 0")
	}
	return nil
}

// Divide answers a call with its result.
func (c *Calculator) Divide(_ *wsctl.Socket, d Division) (int, error) {
	return d.Dividend / d.Divisor, nil
}

// Root fails with an error that the client may see.
func (c *Calculator) Root(_ *wsctl.Socket, n float64) (float64, error) {
	return 0, wsctl.Errorf("not_implemented", "no roots today, not even of %v", n)
}

// Slow is done when its caller, or the socket, has gone.
func (c *Calculator) Slow(ctx context.Context, _ *wsctl.Socket) error {
	<-ctx.Done()
	return ctx.Err()
}

// String is no route: it takes no *wsctl.Socket.
func (c *Calculator) String() string { return "calculator" }

func ExampleNew() {
	h := wsctl.New(&Calculator{}, nil)
	talk(h, nil, 3,
		`{"type":"Divide","id":1,"data":{"Dividend":42,"Divisor":6}}`,
		`{"type":"Divide","id":2,"data":{"Dividend":42,"Divisor":0}}`,
		`{"type":"String","id":3}`)
	// Output:
	// {"type":"$reply","id":1,"data":7}
	// {"type":"$error","id":2,"data":{"code":"bad_request","message":"nothing can be divided by 0"}}
	// {"type":"$error","id":3,"data":{"code":"not_found","message":"no method \"String\""}}
}

func ExampleErrorf() {
	h := wsctl.New(&Calculator{}, nil)
	talk(h, nil, 1, `{"type":"Root","id":1,"data":2}`)
	// Output:
	// {"type":"$error","id":1,"data":{"code":"not_implemented","message":"no roots today, not even of 2"}}
}

// A client cancels a call with $cancel.
func Example_cancel() {
	h := wsctl.New(&Calculator{}, nil)
	talk(h, nil, 1, `{"type":"Slow","id":1}`, `{"type":"$cancel","id":1}`)
	// Output:
	// {"type":"$error","id":1,"data":{"code":"canceled","message":""}}
}

// The table of what clients can call belongs in a golden file.
func ExampleHandler_Routes() {
	h := wsctl.New(&Calculator{}, &wsctl.Options{TypeName: wsctl.SnakeCase})
	for _, r := range h.Routes() {
		fmt.Println(r)
	}
	// Output:
	// Divide               call    divide               func(*wsctl_test.Calculator, *wsctl.Socket, wsctl_test.Division) (int, error)
	// Root                 call    root                 func(*wsctl_test.Calculator, *wsctl.Socket, float64) (float64, error)
	// Slow                 message slow                 func(*wsctl_test.Calculator, context.Context, *wsctl.Socket) error
	// String               -       -                    func(*wsctl_test.Calculator) string  // takes no *wsctl.Socket
}

// Lobby is the controller of sockets that have no name yet.
type Lobby struct{}

type Login struct{ Name string }

func (l *Lobby) Login(s *wsctl.Socket, in Login) error {
	return s.SetController(&Seat{name: in.Name})
}

// Seat is the controller of one socket that has.
type Seat struct{ name string }

func (c *Seat) Say(s *wsctl.Socket, text string) error {
	return s.Hub().Broadcast("Said", c.name+": "+text)
}

// Each socket can have a controller of its own, and another one at each stage.
func ExampleSocket_SetController() {
	h := wsctl.New(&Lobby{}, &wsctl.Options{Controllers: []any{&Seat{}}})
	talk(h, nil, 2,
		`{"type":"Say","id":1,"data":"hello?"}`,
		`{"type":"Login","data":{"Name":"Ada"}}`,
		`{"type":"Say","data":"hello!"}`)
	// Output:
	// {"type":"$error","id":1,"data":{"code":"not_found","message":"no method \"Say\""}}
	// {"type":"Said","data":"Ada: hello!"}
}

// Rooms sends to the members of a room.
type Rooms struct{}

type Entered struct {
	Room    string
	Members int
}

func (c *Rooms) Enter(s *wsctl.Socket, room string) error {
	if err := s.Join(room); err != nil {
		return err
	}
	r := s.Hub().Room(room)
	return r.Send("entered", Entered{room, r.Len()})
}

func ExampleRoom_Send() {
	h := wsctl.New(&Rooms{}, &wsctl.Options{TypeName: wsctl.CamelCase})
	talk(h, nil, 1, `{"type":"enter","data":"attic"}`)
	// Output:
	// {"type":"entered","data":{"Room":"attic","Members":1}}
}

var entered = wsctl.NewEvent[Entered]("entered")

// The page's side of a controller, for new Client<Protocol>('/ws').
func ExampleHandler_WriteTypes() {
	h := wsctl.New(&Rooms{}, &wsctl.Options{TypeName: wsctl.CamelCase, Events: []wsctl.Declaration{entered}})
	if err := h.WriteTypes(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// // Code generated by wsctl from Go types. DO NOT EDIT.
	//
	// /** Protocol lists what the server and its clients say to each other, by message type. */
	// export interface Protocol {
	//   /** What the server sends. */
	//   events: {
	//     entered: Entered;
	//   };
	//   /** What the client sends and nobody answers. */
	//   messages: {
	//     enter: string;
	//   };
	//   /** What the client calls. */
	//   calls: {
	//     enter: { req: string; res: undefined };
	//   };
	//   /** What the client calls and the server answers with a stream. */
	//   streams: {};
	//   /** What the server calls. */
	//   asks: {};
	// }
	//
	// export interface Entered {
	//   Room: string;
	//   Members: number;
	// }
}

// Middleware goes round each message.
func ExampleMessageFunc() {
	timed := func(next wsctl.MessageFunc) wsctl.MessageFunc {
		return func(ctx context.Context, s *wsctl.Socket, m wsctl.Message) (any, error) {
			start := time.Now()
			result, err := next(ctx, s, m)
			fmt.Println(m.Type, "took less than a minute:", time.Since(start) < time.Minute)
			return result, err
		}
	}
	h := wsctl.New(&Calculator{}, &wsctl.Options{Middleware: []func(wsctl.MessageFunc) wsctl.MessageFunc{timed}})
	talk(h, nil, 1, `{"type":"Divide","id":1,"data":{"Dividend":42,"Divisor":6}}`)
	// Output:
	// Divide took less than a minute: true
	// {"type":"$reply","id":1,"data":7}
}

// Account tells clients who they are.
type Account struct{}

func (c *Account) Me(s *wsctl.Socket) (string, error) { return s.Identity().User, nil }

func ExampleOptions_authenticate() {
	h := wsctl.New(&Account{}, &wsctl.Options{
		Authenticate: func(ctx context.Context, r *http.Request, token string) (wsctl.Identity, error) {
			if token != "secret" {
				return wsctl.Identity{}, wsctl.Errorf(wsctl.CodeUnauthenticated, "who are you?")
			}
			return wsctl.Identity{User: "ada", Expires: time.Now().Add(time.Hour)}, nil
		},
	})
	talk(h, nil, 1, `{"type":"Me","id":1}`)
	talk(h, http.Header{"Authorization": {"Bearer secret"}}, 1, `{"type":"Me","id":1}`)
	// Output:
	// 401 Unauthorized
	// {"type":"$reply","id":1,"data":"ada"}
}

// Sockets are shut down before the server, which knows nothing of them.
func ExampleHandler_Shutdown() {
	h := wsctl.New(&Calculator{}, nil)
	srv := &http.Server{Handler: h}
	go srv.Serve(mempipe.Listen())

	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	fmt.Println(h.Shutdown(ctx), srv.Shutdown(ctx))
	// Output:
	// <nil> <nil>
}

func ExampleSnakeCase() {
	fmt.Println(wsctl.SnakeCase("ComputeGDC"), wsctl.CamelCase("ComputeGDC"))
	// Output:
	// compute_gdc computeGDC
}
