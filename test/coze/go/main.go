// What a Go service with Coze Studio's event bus does on NATS, call for call, with the client library and version that it uses
// (backend/infra/eventbus/impl/nats): the stream is looked for by its name and made as Coze makes it, a message has the header
// Nats-Msg-Id "<key>-<index>" and no other, and a group is read by PullSubscribe(topic, group) without options.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

func ensureStream(js nats.JetStreamContext, topic string) error {
	name := strings.ReplaceAll(topic, ".", "_") + "_STREAM"
	_, err := js.StreamInfo(name)
	if err == nil {
		return nil
	}
	if !errors.Is(err, nats.ErrStreamNotFound) {
		return err
	}
	_, err = js.AddStream(&nats.StreamConfig{
		Name:     name,
		Subjects: []string{topic},
		Storage:  nats.FileStorage,
		MaxAge:   24 * time.Hour,
		MaxMsgs:  1_000_000,
		MaxBytes: 1 << 30,
	})
	return err
}

func say(what any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func produce(js nats.JetStreamContext, topic, key, body string, count int) error {
	for i := 0; i < count; i++ {
		if err := ensureStream(js, topic); err != nil {
			return err
		}
		msg := &nats.Msg{Subject: topic, Data: []byte(strings.ReplaceAll(body, "%d", fmt.Sprint(i))), Header: nats.Header{}}
		if key != "" {
			msg.Header.Set("Nats-Msg-Id", key+"-0")
		}
		// Coze looks at the error alone.
		ack, err := js.PublishMsg(msg)
		if err != nil {
			return err
		}
		say(map[string]any{"sent": i, "duplicate": ack.Duplicate})
	}
	return nil
}

// Reads for as long as the process runs; a body that contains `fail` is given back by Nak, as for an error of the handler.
func consume(js nats.JetStreamContext, topic, group, fail string, work time.Duration) error {
	if err := ensureStream(js, topic); err != nil {
		return err
	}
	sub, err := js.PullSubscribe(topic, group)
	if err != nil {
		return err
	}
	say(map[string]any{"ready": true})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		messages, err := sub.Fetch(1, nats.MaxWait(time.Second))
		if err != nil {
			if errors.Is(err, nats.ErrTimeout) {
				continue
			}
			return err
		}
		for _, msg := range messages {
			time.Sleep(work)
			meta, err := msg.Metadata()
			if err != nil {
				return err
			}
			failed := fail != "" && strings.Contains(string(msg.Data), fail)
			say(map[string]any{"body": string(msg.Data), "delivered": meta.NumDelivered, "failed": failed})
			if failed {
				_ = msg.Nak()
			} else {
				_ = msg.Ack()
			}
		}
	}
}

func main() {
	url := flag.String("url", nats.DefaultURL, "")
	topic := flag.String("topic", "", "")
	group := flag.String("group", "", "read as a member of it; without it: send")
	key := flag.String("key", "", "")
	body := flag.String("body", "%d", "%d stands for the number of the message")
	count := flag.Int("count", 1, "")
	fail := flag.String("fail", "", "")
	work := flag.Duration("work", 0, "")
	flag.Parse()
	nc, err := nats.Connect(*url, nats.MaxReconnects(-1))
	if err != nil {
		log.Fatal(err)
	}
	js, err := nc.JetStream()
	if err != nil {
		log.Fatal(err)
	}
	if *group != "" {
		err = consume(js, *topic, *group, *fail, *work)
	} else {
		err = produce(js, *topic, *key, *body, *count)
	}
	nc.Close()
	if err != nil {
		log.Fatal(err)
	}
}
