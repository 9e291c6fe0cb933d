// What a Go service with Coze Studio's event bus does on Pulsar, call for call, with the client library and version that it uses
// (backend/infra/eventbus/impl/pulsar): a fixed producer name, the sharding key as the message's key, batches by the library's
// settings, an exclusive subscription, and a nack after an error. `-shared` and `-chunk` are what Coze does not do: a
// subscription that others may be in at the same time, and bodies in pieces.
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

	"github.com/apache/pulsar-client-go/pulsar"
	plog "github.com/apache/pulsar-client-go/pulsar/log"
)

func say(what any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func connect(url, token string) (pulsar.Client, error) {
	options := pulsar.ClientOptions{URL: url, Logger: plog.DefaultNopLogger(), ConnectionTimeout: 5 * time.Second}
	if token != "" {
		options.Authentication = pulsar.NewAuthenticationToken(token)
	}
	return pulsar.NewClient(options)
}

func produce(client pulsar.Client, topic, key, body, compression string, chunk uint, count int) error {
	kinds := map[string]pulsar.CompressionType{"": pulsar.NoCompression, "lz4": pulsar.LZ4, "zlib": pulsar.ZLib, "zstd": pulsar.ZSTD}
	kind, known := kinds[compression]
	if !known {
		return fmt.Errorf("unknown compression '%s'", compression)
	}
	options := pulsar.ProducerOptions{Topic: topic, Name: topic + "-group-producer", CompressionType: kind}
	if chunk > 0 {
		options.DisableBatching, options.EnableChunking, options.ChunkMaxMessageSize = true, true, chunk
	}
	producer, err := client.CreateProducer(options)
	if err != nil {
		return err
	}
	defer producer.Close()
	failed := make(chan error, count)
	for i := 0; i < count; i++ {
		number := fmt.Sprint(i)
		msg := &pulsar.ProducerMessage{Payload: []byte(strings.ReplaceAll(body, "%d", number)), Key: strings.ReplaceAll(key, "%d", number)}
		// All at once, as BatchSend does: so they share a batch.
		producer.SendAsync(context.Background(), msg, func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) { failed <- err })
	}
	for i := 0; i < count; i++ {
		if err := <-failed; err != nil {
			return err
		}
		say(map[string]any{"sent": i})
	}
	return nil
}

// Reads for as long as the process runs; a body that contains `fail` is an error of the handler.
func consume(client pulsar.Client, topic, group, fail string, work time.Duration, shared, earliest bool) error {
	options := pulsar.ConsumerOptions{Topic: topic, SubscriptionName: group, Type: pulsar.Exclusive}
	if shared {
		options.Type = pulsar.Shared
	}
	if earliest {
		options.SubscriptionInitialPosition = pulsar.SubscriptionPositionEarliest
	}
	consumer, err := client.Subscribe(options)
	if err != nil {
		return err
	}
	defer consumer.Close()
	say(map[string]any{"ready": true})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	for {
		msg, err := consumer.Receive(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		time.Sleep(work)
		body := string(msg.Payload())
		failed := fail != "" && strings.Contains(body, fail)
		say(map[string]any{
			"body": body, "key": msg.Key(), "properties": msg.Properties(), "delivered": msg.RedeliveryCount() + 1, "failed": failed,
		})
		if failed {
			consumer.Nack(msg)
		} else {
			_ = consumer.Ack(msg)
		}
	}
}

func main() {
	url := flag.String("url", "pulsar://127.0.0.1:6650", "")
	topic := flag.String("topic", "", "")
	group := flag.String("group", "", "read as a member of it; without it: send")
	key := flag.String("key", "", "%d stands for the number of the message, in the body too")
	body := flag.String("body", "%d", "")
	count := flag.Int("count", 1, "")
	fail := flag.String("fail", "", "")
	work := flag.Duration("work", 0, "")
	token := flag.String("token", "", "")
	compression := flag.String("compression", "", "lz4, zlib or zstd")
	chunk := flag.Uint("chunk", 0, "send larger bodies in chunks of so many bytes")
	shared := flag.Bool("shared", false, "")
	earliest := flag.Bool("earliest", false, "")
	flag.Parse()
	client, err := connect(*url, *token)
	if err == nil {
		defer client.Close()
		if *group != "" {
			err = consume(client, *topic, *group, *fail, *work, *shared, *earliest)
		} else {
			err = produce(client, *topic, *key, *body, *compression, *chunk, *count)
		}
	}
	if err != nil {
		log.Print(err)
		os.Exit(1)
	}
}
