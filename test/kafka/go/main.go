// What a Go service with Coze Studio's event bus does on Kafka, call for call, with the client library and version that it uses
// (backend/infra/eventbus/impl/kafka): acks of all, the key as it is or none, no header; a group by `range`, from the oldest,
// offsets committed each second, and a message whose handler failed is passed over.
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

	"github.com/IBM/sarama"
)

func say(what any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func produce(broker, topic, key, body string, count int) error {
	config := sarama.NewConfig()
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	producer, err := sarama.NewSyncProducer([]string{broker}, config)
	if err != nil {
		return err
	}
	defer producer.Close()
	for i := 0; i < count; i++ {
		msg := &sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder(strings.ReplaceAll(body, "%d", fmt.Sprint(i)))}
		if key != "" {
			msg.Key = sarama.StringEncoder(strings.ReplaceAll(key, "%d", fmt.Sprint(i)))
		}
		partition, offset, err := producer.SendMessage(msg)
		if err != nil {
			return err
		}
		say(map[string]any{"sent": i, "partition": partition, "offset": offset})
	}
	return nil
}

type handler struct {
	fail string
	work time.Duration
}

func (*handler) Setup(session sarama.ConsumerGroupSession) error {
	parts := 0
	for _, own := range session.Claims() {
		parts += len(own)
	}
	say(map[string]any{"ready": true, "partitions": parts})
	return nil
}

func (*handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for msg := range claim.Messages() {
		time.Sleep(h.work)
		failed := h.fail != "" && strings.Contains(string(msg.Value), h.fail)
		headers := map[string]string{}
		for _, header := range msg.Headers {
			headers[string(header.Key)] = string(header.Value)
		}
		say(map[string]any{"body": string(msg.Value), "key": string(msg.Key), "partition": msg.Partition, "headers": headers, "failed": failed})
		if !failed {
			session.MarkMessage(msg, "")
		}
	}
	return nil
}

// Reads for as long as the process runs.
func consume(broker, topic, group, fail string, work time.Duration) error {
	config := sarama.NewConfig()
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Interval = time.Second
	config.Consumer.Group.Session.Timeout = 30 * time.Second
	consumer, err := sarama.NewConsumerGroup([]string{broker}, group, config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		cancel()
	}()
	for ctx.Err() == nil {
		if err := consumer.Consume(ctx, []string{topic}, &handler{fail: fail, work: work}); err != nil {
			return err
		}
	}
	return consumer.Close()
}

func main() {
	broker := flag.String("broker", "127.0.0.1:9092", "")
	topic := flag.String("topic", "", "")
	group := flag.String("group", "", "read as a member of it; without it: send")
	key := flag.String("key", "", "%d stands for the number of the message, here as in the body")
	body := flag.String("body", "%d", "")
	count := flag.Int("count", 1, "")
	fail := flag.String("fail", "", "")
	work := flag.Duration("work", 0, "")
	flag.Parse()
	var err error
	if *group != "" {
		err = consume(*broker, *topic, *group, *fail, *work)
	} else {
		err = produce(*broker, *topic, *key, *body, *count)
	}
	if err != nil {
		log.Fatal(err)
	}
}
