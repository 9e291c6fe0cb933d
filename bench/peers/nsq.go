package main

import (
	"github.com/nsqio/go-nsq"
)

var nsqPeer = peer{
	publish: func(j job) error {
		producer, err := nsq.NewProducer(j.url, nsq.NewConfig())
		if err != nil {
			return err
		}
		producer.SetLoggerLevel(nsq.LogLevelError)
		defer producer.Stop()
		answers := make(chan *nsq.ProducerTransaction, window)
		free := make(chan struct{}, window)
		failed := make(chan error, 1)
		go func() {
			for i := 0; i < j.count; i++ {
				if answer := <-answers; answer.Error != nil {
					failed <- answer.Error
					return
				}
				<-free
			}
			failed <- nil
		}()
		for i := 0; i < j.count; i++ {
			free <- struct{}{}
			if err := producer.PublishAsync(j.topic, j.body, answers); err != nil {
				return err
			}
		}
		return <-failed
	},
	consume: func(j job, took func()) (func(), error) {
		config := nsq.NewConfig()
		config.MaxInFlight = 1000
		consumer, err := nsq.NewConsumer(j.topic, j.group, config)
		if err != nil {
			return nil, err
		}
		consumer.SetLoggerLevel(nsq.LogLevelError)
		consumer.AddConcurrentHandlers(nsq.HandlerFunc(func(*nsq.Message) error { took(); return nil }), handlers)
		if err := consumer.ConnectToNSQD(j.url); err != nil {
			return nil, err
		}
		return func() { consumer.Stop(); <-consumer.StopChan }, nil
	},
}
