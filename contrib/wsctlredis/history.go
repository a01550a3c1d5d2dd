package wsctlredis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"github.com/wsctl/wsctl"
	"github.com/wsctl/wsctl/internal/position"
)

const (
	again   = 2 * time.Second // how long calls are tried again whose connection was lost
	minWait = 20 * time.Millisecond
)

var errUnsure = errors.New("the connection was lost, and whether the message is kept can't be told")

// PublishKeep implements [wsctl.HistoryBroker]. It fails at once if the server can't be reached. If the connection is lost with
// the message on its way, and the topic is subscribed here, so that it can be told from the history whether it has arrived,
// it is tried again for 2 seconds; it is never kept twice. While a cluster moves the topic it is tried again as well. A history
// without Messages and with an Age has no other limit.
func (b *Broker) PublishKeep(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
	if err := b.publishKeep(ctx, topic, msg, keep); err != nil {
		return fmt.Errorf("wsctlredis: publish: %w", err)
	}
	return nil
}

func (b *Broker) publishKeep(ctx context.Context, topic string, msg []byte, keep wsctl.Retention) error {
	channel, err := b.channel(topic)
	if err != nil {
		return err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	messages, age, command := max(keep.Messages, 0), int64(0), "PUBLISH"
	if keep.Age > 0 {
		age = max(keep.Age.Milliseconds(), 1)
		if messages == 0 {
			messages = -1
		}
	}
	if b.cluster {
		command = "SPUBLISH"
	}
	text, number := string(msg), ""
	try := func(epoch, offset string) (int64, error) {
		answer, err := b.run(ctx, publishScript, channel, b.id, number, epoch, offset, strconv.Itoa(messages), strconv.FormatInt(age, 10), command, text)
		if err != nil {
			return 0, err
		}
		return answer.AsInt64()
	}
	known := b.newest(channel)
	for wait, end := minWait, time.Now().Add(again); ; wait *= 2 {
		number = strconv.FormatUint(b.serial.Add(1), 10)
		var answer int64
		if answer, err = try("", ""); err == nil && answer == answerKept {
			return nil
		}
		if err == nil {
			continue // it was overtaken
		}
		if !moving(err) || !b.mayRetry(ctx, err) || time.Now().After(end) {
			break
		}
		b.wait(ctx, wait)
	}
	var op *net.OpError
	if moving(err) || !b.mayRetry(ctx, err) || errors.As(err, &op) && op.Op == "dial" {
		return err
	}
	epoch, offset, ok := strings.Cut(known, ".")
	if !ok {
		return fmt.Errorf("%w: %w", errUnsure, err)
	}
	for wait, end := minWait, time.Now().Add(again); ; wait *= 2 {
		b.wait(ctx, wait)
		switch answer, retried := try(epoch, offset); {
		case answer == answerKept:
			return nil
		case retried == nil, ctx.Err() != nil, b.isClosed(), time.Now().After(end):
			return fmt.Errorf("%w: %w", errUnsure, err)
		}
	}
}

// mayRetry tells whether a call has failed because of its connection, or its keys are just moving, and another one has time.
func (b *Broker) mayRetry(ctx context.Context, err error) bool {
	_, refused := rueidis.IsRedisErr(err)
	return (!refused || moving(err)) && ctx.Err() == nil && !b.isClosed()
}

// moving tells whether nothing was done because of two keys only one is here, on their way to another node of the cluster.
func moving(err error) bool {
	refused, ok := rueidis.IsRedisErr(err)
	return ok && refused.IsTryAgain()
}

// run runs a script for a topic.
func (b *Broker) run(ctx context.Context, script *rueidis.Lua, channel string, args ...string) (rueidis.RedisMessage, error) {
	identity := "1"
	if b.opts.Durable {
		identity = "0"
	}
	args = append([]string{rand.Text()[:16], identity}, args...)
	return b.call(ctx, func(ctx context.Context) rueidis.RedisResult {
		return script.Exec(ctx, b.client, []string{channel + ":h", channel + ":s"}, args)
	})
}

// Since implements [wsctl.HistoryBroker]. A history lives on for Age after it was published to or asked for, at least for 5
// minutes, and 5 to 10 minutes more. While the server can't be reached, or a cluster moves the topic, it is tried for 2 seconds.
func (b *Broker) Since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	if msgs, newest, ok, err = b.since(ctx, topic, pos); err != nil {
		return nil, "", false, fmt.Errorf("wsctlredis: history: %w", err)
	}
	return msgs, newest, ok, nil
}

func (b *Broker) since(ctx context.Context, topic, pos string) (msgs [][]byte, newest string, ok bool, err error) {
	channel, err := b.channel(topic)
	if err != nil {
		return nil, "", false, err
	}
	asked, valid := position.Parse(pos) // the zero position is unknown
	ctx, cancel := within(ctx)
	defer cancel()
	ask := func() (rueidis.RedisMessage, error) {
		return b.run(ctx, sinceScript, channel, asked.Epoch, strconv.FormatUint(asked.Offset, 10))
	}
	answer, err := ask()
	for wait, end := minWait, time.Now().Add(again); err != nil && b.mayRetry(ctx, err) && time.Now().Before(end); wait *= 2 {
		b.wait(ctx, wait)
		answer, err = ask()
	}
	if err != nil {
		return nil, "", false, err
	}
	parts, err := answer.ToArray()
	if err != nil {
		return nil, "", false, err
	}
	if len(parts) != 4 {
		return nil, "", false, errors.New("the server's answer can't be read")
	}
	epoch, _ := parts[0].ToString()
	offset, _ := parts[1].ToString()
	at, understood := position.Parse(epoch + "." + offset)
	if !understood {
		return nil, "", false, fmt.Errorf("the position %.100q, which the server has, can't be read", epoch+"."+offset)
	}
	newest = at.String()
	b.learn(channel, newest)
	if pos == "" {
		return nil, newest, true, nil
	}
	if all, _ := parts[2].AsInt64(); all != 1 || !valid {
		return nil, newest, false, nil
	}
	texts, err := parts[3].AsStrSlice()
	if err != nil || uint64(len(texts)) != at.Offset-asked.Offset {
		return nil, newest, false, err
	}
	msgs = make([][]byte, len(texts))
	for i, text := range texts {
		msgs[len(msgs)-1-i] = []byte(text)
	}
	return msgs, newest, true, nil
}
