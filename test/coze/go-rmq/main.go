// What a Go service with Coze Studio's event bus does on RocketMQ, call for call, with the client library that it uses
// (backend/infra/eventbus/impl/rmq): one message a call and no key, or with `-batch` a batch whose messages have the sharding key as
// a property; a push consumer of everything, clustering, one message at a time in each of twenty goroutines, ConsumeFromLastOffset,
// and another try later after an error. `-orderly` is what Coze never asks for, `-first` begins at the first message.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

func say(what any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func produce(servers []string, user primitive.Credentials, topic, key, body string, count int, batch bool) error {
	sender, err := rocketmq.NewProducer(
		producer.WithNameServer(servers), producer.WithGroupName(topic+"-producer"), producer.WithRetry(2), producer.WithCredentials(user))
	if err != nil {
		return err
	}
	if err := sender.Start(); err != nil {
		return err
	}
	defer func() { _ = sender.Shutdown() }()
	var all []*primitive.Message
	for i := 0; i < count; i++ {
		number := fmt.Sprint(i)
		msg := primitive.NewMessage(topic, []byte(strings.ReplaceAll(body, "%d", number)))
		if batch && key != "" {
			msg.WithProperty("SHARDING_KEY", strings.ReplaceAll(key, "%d", number))
		}
		all = append(all, msg)
		if batch {
			continue
		}
		if _, err := sender.SendSync(context.Background(), msg); err != nil {
			return err
		}
		say(map[string]any{"sent": i})
	}
	if batch {
		if _, err := sender.SendSync(context.Background(), all...); err != nil {
			return err
		}
		for i := range all {
			say(map[string]any{"sent": i})
		}
	}
	return nil
}

// Reads for as long as the process runs; a body that contains `fail` is an error of the handler.
func consume(servers []string, user primitive.Credentials, topic, group, fail string, work time.Duration, orderly, first bool) error {
	where := consumer.ConsumeFromLastOffset
	if first {
		where = consumer.ConsumeFromFirstOffset
	}
	reader, err := rocketmq.NewPushConsumer(
		consumer.WithNameServer(servers), consumer.WithGroupName(group), consumer.WithConsumeFromWhere(where),
		consumer.WithCredentials(user), consumer.WithConsumerOrder(orderly))
	if err != nil {
		return err
	}
	err = reader.Subscribe(topic, consumer.MessageSelector{},
		func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, msg := range messages {
				time.Sleep(work)
				body := string(msg.Body)
				failed := fail != "" && strings.Contains(body, fail)
				say(map[string]any{
					"body": body, "key": msg.GetShardingKey(), "properties": msg.GetProperties(), "delivered": msg.ReconsumeTimes + 1, "failed": failed,
				})
				if failed {
					return consumer.ConsumeRetryLater, nil
				}
			}
			return consumer.ConsumeSuccess, nil
		})
	if err != nil {
		return err
	}
	if err := reader.Start(); err != nil {
		return err
	}
	say(map[string]any{"ready": true})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	return reader.Shutdown()
}

func main() {
	url := flag.String("url", "127.0.0.1:9876", "name servers, with commas between them")
	topic := flag.String("topic", "", "")
	group := flag.String("group", "", "read as a member of it; without it: send")
	key := flag.String("key", "", "only with -batch; %d stands for the number of the message, in the body too")
	body := flag.String("body", "%d", "")
	count := flag.Int("count", 1, "")
	batch := flag.Bool("batch", false, "")
	fail := flag.String("fail", "", "")
	work := flag.Duration("work", 0, "")
	access := flag.String("access", "", "access key and secret key, with a colon between them")
	orderly := flag.Bool("orderly", false, "")
	first := flag.Bool("first", false, "")
	flag.Parse()
	rlog.SetLogLevel("error")
	// Its log goes to the standard output otherwise, between the lines of JSON.
	_ = rlog.SetOutputPath(os.DevNull)
	servers := strings.Split(*url, ",")
	var user primitive.Credentials
	if name, secret, given := strings.Cut(*access, ":"); given {
		user = primitive.Credentials{AccessKey: name, SecretKey: secret}
	}
	var err error
	if *group != "" {
		err = consume(servers, user, *topic, *group, *fail, *work, *orderly, *first)
	} else {
		err = produce(servers, user, *topic, *key, *body, *count, *batch)
	}
	if err != nil {
		log.Print(err)
		os.Exit(1)
	}
}
