// What is measured beside our engines: each broker's Go client, used as its own documentation says for throughput. Publishes
// `count` messages with up to 1000 unconfirmed, then takes them all in a group, each acknowledged; or one of the two, by
// `phase`. Prints one line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"sync"
	"syscall"
	"time"
)

const window = 1000
const handlers = 64

type job struct {
	url, topic, group string
	count             int
	body              []byte
}

// One broker: both resolve when all of it is done; consume calls `took` for each message once it was acknowledged.
type peer struct {
	publish func(job) error
	consume func(j job, took func()) (stop func(), err error)
}

var peers = map[string]peer{"nats": natsPeer, "nsq": nsqPeer, "pulsar": pulsarPeer, "rocketmq": rocketmqPeer}

type phase struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
}

func processor() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// From the first message to the last: joining a group is not what is measured.
func consume(with peer, j job) (phase, error) {
	var lock sync.Mutex
	var begun time.Time
	var cpu float64
	got := 0
	done := make(chan phase, 1)
	stop, err := with.consume(j, func() {
		lock.Lock()
		defer lock.Unlock()
		if got == 0 {
			begun, cpu = time.Now(), processor()
		}
		got++
		if got == j.count {
			done <- phase{time.Since(begun).Seconds(), processor() - cpu}
		}
	})
	if err != nil {
		return phase{}, err
	}
	defer stop()
	select {
	case measured := <-done:
		return measured, nil
	case <-time.After(2 * time.Minute):
		return phase{}, fmt.Errorf("%d of %d came", got, j.count)
	}
}

func main() {
	broker := flag.String("broker", "", "")
	var j job
	flag.StringVar(&j.url, "url", "", "host:port")
	flag.StringVar(&j.topic, "topic", "", "")
	flag.StringVar(&j.group, "group", "", "")
	flag.IntVar(&j.count, "count", 1000, "")
	size := flag.Int("size", 256, "")
	only := flag.String("phase", "", "publish or consume; both, one after the other, unless given")
	flag.Parse()
	with, known := peers[*broker]
	if !known {
		log.Fatalf("there is no peer for '%s'", *broker)
	}
	j.body = make([]byte, *size)
	for i := range j.body {
		j.body[i] = 'A'
	}
	phases := map[string]phase{}
	if *only != "consume" {
		cpu, begun := processor(), time.Now()
		if err := with.publish(j); err != nil {
			log.Fatal(err)
		}
		phases["publish"] = phase{time.Since(begun).Seconds(), processor() - cpu}
	}
	if *only != "publish" {
		consumed, err := consume(with, j)
		if err != nil {
			log.Fatal(err)
		}
		phases["consume"] = consumed
	}
	line, _ := json.Marshal(phases)
	fmt.Println(string(line))
}
