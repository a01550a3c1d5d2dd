package wsctl_test

import (
	"context"
	"testing"

	"github.com/wsctl/wsctl"
)

type Chat struct{}

type Line struct{ Room, Text string }

func (c *Chat) Say(s *wsctl.Socket, l Line) error {
	if err := s.Join(l.Room); err != nil {
		return err
	}
	return s.Hub().Room(l.Room).Send("Said", l)
}

func (c *Chat) Add(_ *wsctl.Socket, n [2]int) (int, error) { return n[0] + n[1], nil }

func (c *Chat) Wait(ctx context.Context, _ *wsctl.Socket) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestFirstProgram(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h, _ := newHandler(t, &Chat{}, nil)
		srv := serve(t, h)
		a, b := srv.dial(t, nil), srv.dial(t, nil)
		a.send(`{"type":"Say","data":{"Room":"go","Text":"hi"}}`)
		a.want(`{"type":"Said","data":{"Room":"go","Text":"hi"}}`)
		b.send(`{"type":"Say","id":1,"data":{"Room":"go","Text":"ho"}}`)
		b.want(`{"type":"Said","data":{"Room":"go","Text":"ho"}}`, `{"type":"$reply","id":1}`)
		a.want(`{"type":"Said","data":{"Room":"go","Text":"ho"}}`)
		a.send(`{"type":"Add","id":2,"data":[1,2]}`)
		a.want(`{"type":"$reply","id":2,"data":3}`)
		a.send(`{"type":"Wait","id":3}`, `{"type":"$cancel","id":3}`)
		a.want(`{"type":"$error","id":3,"data":{"code":"canceled","message":""}}`)
		a.quiet()
	})
}
