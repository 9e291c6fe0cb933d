package main

import (
	"context"
	"sync"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

var rocketmqPeer = peer{
	publish: func(j job) error {
		rlog.SetLogLevel("error")
		sender, err := rocketmq.NewProducer(producer.WithNameServer([]string{j.url}), producer.WithGroupName(j.group+"-producer"))
		if err != nil {
			return err
		}
		if err := sender.Start(); err != nil {
			return err
		}
		defer func() { _ = sender.Shutdown() }()
		var waiting sync.WaitGroup
		var once sync.Once
		var failed error
		free := make(chan struct{}, window)
		waiting.Add(j.count)
		for i := 0; i < j.count; i++ {
			free <- struct{}{}
			err := sender.SendAsync(context.Background(), func(_ context.Context, _ *primitive.SendResult, err error) {
				if err != nil {
					once.Do(func() { failed = err })
				}
				<-free
				waiting.Done()
			}, primitive.NewMessage(j.topic, j.body))
			if err != nil {
				return err
			}
		}
		waiting.Wait()
		return failed
	},
	consume: func(j job, took func()) (func(), error) {
		rlog.SetLogLevel("error")
		reader, err := rocketmq.NewPushConsumer(
			consumer.WithNameServer([]string{j.url}), consumer.WithGroupName(j.group),
			consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), consumer.WithConsumeGoroutineNums(handlers))
		if err != nil {
			return nil, err
		}
		err = reader.Subscribe(j.topic, consumer.MessageSelector{},
			func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
				for range messages {
					took()
				}
				return consumer.ConsumeSuccess, nil
			})
		if err != nil {
			return nil, err
		}
		if err := reader.Start(); err != nil {
			return nil, err
		}
		return func() { _ = reader.Shutdown() }, nil
	},
}
