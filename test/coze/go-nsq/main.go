// What a Go service with Coze Studio's event bus does on NSQ, call for call, with the client library and version that it uses
// (backend/infra/eventbus/impl/nsq): bodies alone, the sharding key is ignored, one nsqd, and the library's own settings: one
// message at a time, five attempts, and a pause of the whole consumer after an error.
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

	"github.com/nsqio/go-nsq"
)

func say(what any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func produce(server, topic, body string, count int) error {
	producer, err := nsq.NewProducer(server, nsq.NewConfig())
	if err != nil {
		return err
	}
	producer.SetLoggerLevel(nsq.LogLevelError)
	defer producer.Stop()
	for i := 0; i < count; i++ {
		if err := producer.Publish(topic, []byte(strings.ReplaceAll(body, "%d", fmt.Sprint(i)))); err != nil {
			return err
		}
		say(map[string]any{"sent": i})
	}
	return nil
}

type handler struct {
	fail string
	work time.Duration
}

func (h *handler) HandleMessage(msg *nsq.Message) error {
	time.Sleep(h.work)
	failed := h.fail != "" && strings.Contains(string(msg.Body), h.fail)
	say(map[string]any{"body": string(msg.Body), "delivered": msg.Attempts, "failed": failed})
	if failed {
		return errors.New("as asked for")
	}
	return nil
}

// Reads for as long as the process runs; a body that contains `fail` is an error of the handler.
func consume(server, topic, group, fail string, work time.Duration) error {
	consumer, err := nsq.NewConsumer(topic, group, nsq.NewConfig())
	if err != nil {
		return err
	}
	consumer.SetLoggerLevel(nsq.LogLevelError)
	consumer.AddHandler(&handler{fail, work})
	if err := consumer.ConnectToNSQD(server); err != nil {
		return err
	}
	say(map[string]any{"ready": true})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	consumer.Stop()
	<-consumer.StopChan
	return nil
}

func main() {
	server := flag.String("url", "127.0.0.1:4150", "")
	topic := flag.String("topic", "", "")
	group := flag.String("group", "", "read as a member of it; without it: send")
	_ = flag.String("key", "", "nsq/producer.go drops it")
	body := flag.String("body", "%d", "%d stands for the number of the message")
	count := flag.Int("count", 1, "")
	fail := flag.String("fail", "", "")
	work := flag.Duration("work", 0, "")
	flag.Parse()
	var err error
	if *group != "" {
		err = consume(*server, *topic, *group, *fail, *work)
	} else {
		err = produce(*server, *topic, *body, *count)
	}
	if err != nil {
		log.Fatal(err)
	}
}
