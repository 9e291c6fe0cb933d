package main

import (
	"context"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/log"
)

func pulsarClient(url string) (pulsar.Client, error) {
	return pulsar.NewClient(pulsar.ClientOptions{URL: "pulsar://" + url, Logger: log.DefaultNopLogger()})
}

var pulsarPeer = peer{
	publish: func(j job) error {
		client, err := pulsarClient(j.url)
		if err != nil {
			return err
		}
		defer client.Close()
		producer, err := client.CreateProducer(pulsar.ProducerOptions{Topic: j.topic, MaxPendingMessages: window})
		if err != nil {
			return err
		}
		defer producer.Close()
		var waiting sync.WaitGroup
		var once sync.Once
		var failed error
		waiting.Add(j.count)
		for i := 0; i < j.count; i++ {
			producer.SendAsync(context.Background(), &pulsar.ProducerMessage{Payload: j.body},
				func(_ pulsar.MessageID, _ *pulsar.ProducerMessage, err error) {
					if err != nil {
						once.Do(func() { failed = err })
					}
					waiting.Done()
				})
		}
		if err := producer.FlushWithCtx(context.Background()); err != nil {
			return err
		}
		waiting.Wait()
		return failed
	},
	consume: func(j job, took func()) (func(), error) {
		client, err := pulsarClient(j.url)
		if err != nil {
			return nil, err
		}
		consumer, err := client.Subscribe(pulsar.ConsumerOptions{
			Topic: j.topic, SubscriptionName: j.group, Type: pulsar.Shared,
			SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest,
		})
		if err != nil {
			return nil, err
		}
		go func() {
			for msg := range consumer.Chan() {
				_ = consumer.Ack(msg.Message)
				took()
			}
		}()
		return func() { consumer.Close(); client.Close() }, nil
	},
}
