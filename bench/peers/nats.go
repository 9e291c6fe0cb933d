package main

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// With a message id, as ours are.
var natsPeer = peer{
	publish: func(j job) error {
		nc, err := nats.Connect(j.url)
		if err != nil {
			return err
		}
		defer nc.Close()
		js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(window))
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		config := jetstream.StreamConfig{Name: j.topic, Subjects: []string{j.topic}}
		if _, err := js.CreateStream(ctx, config); err != nil {
			return err
		}
		for i := 0; i < j.count; i++ {
			if _, err := js.PublishAsync(j.topic, j.body, jetstream.WithMsgID(strconv.Itoa(i))); err != nil {
				return err
			}
		}
		<-js.PublishAsyncComplete()
		return nil
	},
	consume: func(j job, took func()) (func(), error) {
		nc, err := nats.Connect(j.url)
		if err != nil {
			return nil, err
		}
		js, err := jetstream.New(nc)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		config := jetstream.ConsumerConfig{Durable: j.group, AckPolicy: jetstream.AckExplicitPolicy}
		consumer, err := js.CreateConsumer(ctx, j.topic, config)
		if err != nil {
			return nil, err
		}
		consuming, err := consumer.Consume(func(msg jetstream.Msg) {
			_ = msg.Ack()
			took()
		}, jetstream.PullMaxMessages(500))
		if err != nil {
			return nil, err
		}
		return func() { consuming.Stop(); _ = nc.Flush(); nc.Close() }, nil
	},
}
